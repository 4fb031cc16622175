"""Tempest, in an environment of its own, against a store with the add-on: `make tempest`."""
