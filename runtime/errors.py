"""Errors that belong to no layer: configuration and start-up."""


class AtollError(Exception):
    """Base of the operating errors that a command prints as one sentence."""


class ConfigError(AtollError):
    """The configuration is wrong; the text names the file, the key and what is expected."""
