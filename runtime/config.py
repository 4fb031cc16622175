"""The configuration file: one TOML file, typed, every key documented in doc/configuration.md.

Unknown keys are errors. Without a file the defaults start a store for one laptop.
"""

import os
import tomllib
from typing import Final

import msgspec

from runtime.errors import ConfigError

DEVICES_MAX: Final = 1024
WORKERS_MAX: Final = 256


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings of `atoll up`; doc/configuration.md describes each, and a test sees to that."""

    data: str = "atoll-data"
    listen: str = "127.0.0.1"
    port: int = 8080
    admin_listen: str = "127.0.0.1"
    admin_port: int = 8081
    workers: int = 0
    devices: int = 6
    device_paths: list[str] = []
    part_power: int = 10
    default_policy: str = ""
    region: str = "us-east-1"
    domains: list[str] = []
    storage_url: str = ""
    tls_certificate: str = ""
    tls_key: str = ""
    part_min_bytes: int = 5 * 1024 * 1024
    drain_s: float = 10.0
    collect_grace_s: float = 3600.0
    orphan_grace_s: float = 7 * 86400.0
    device_reserve_bytes: int = 128 * 1024 * 1024
    repair_latency_factor: float = 2.0

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}; it must be from {low} to {high}")
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("tls_certificate and tls_key go together")

    @property
    def scheme(self) -> str:
        """http or https."""
        return "https" if self.tls_certificate else "http"

    @property
    def endpoint(self) -> str:
        """The URL that clients on this host use."""
        host = f"[{self.listen}]" if ":" in self.listen else self.listen
        host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104
        return f"{self.scheme}://{host}:{self.port}"


_RANGES: Final = (
    ("port", 0, 65535),
    ("admin_port", 0, 65535),
    ("workers", 0, WORKERS_MAX),
    ("devices", 1, DEVICES_MAX),
    ("part_power", 1, 24),
    ("part_min_bytes", 1, 5 * 1024**3),
    ("drain_s", 0, 3600),
    ("orphan_grace_s", 0, 10 * 365 * 86400),
    ("collect_grace_s", 0, 10 * 365 * 86400),
    ("device_reserve_bytes", 0, 2**50),
    ("repair_latency_factor", 1, 1000),
)

_PATHS: Final = ("data", "tls_certificate", "tls_key")


def parse(text: str, source: str, **overrides: object) -> Config:
    """The configuration in `text`, with `overrides` (None: not given). Raises ConfigError."""
    try:
        table: dict[str, object] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: {error}") from error
    table.update({name: value for name, value in overrides.items() if value is not None})
    try:
        return msgspec.convert(table, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {error}") from error


def load(path: str | None, **overrides: object) -> Config:
    """The configuration file at `path`, or the defaults; relative paths in it start at the file.

    Raises ConfigError.
    """
    if path is None:
        return absolute(parse("", "command line", **overrides), os.getcwd())
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    base = absolute(parse(text, path), os.path.dirname(os.path.abspath(path)))
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        changed = msgspec.convert({**msgspec.structs.asdict(base), **given}, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"command line: {error}") from error
    return absolute(changed, os.getcwd())


def absolute(config: Config, folder: str) -> Config:
    """The configuration with its relative paths taken from `folder`."""
    fixed: dict[str, object] = {
        name: os.path.join(folder, getattr(config, name)) for name in _PATHS if getattr(config, name)
    }
    fixed["device_paths"] = [os.path.join(folder, path) for path in config.device_paths]
    return msgspec.structs.replace(config, **fixed)
