"""The configuration file: one TOML file, typed, every key documented in doc/configuration.md.

Unknown keys are errors. Without a file the defaults start a store for one laptop.
"""

import os
import re
import tomllib
from typing import Final, Literal

import msgspec

from runtime.errors import ConfigError

DEVICES_MAX: Final = 1024
WORKERS_MAX: Final = 256
NODES_MAX: Final = 4096
PORT_MAX: Final = 65535

KEEPER_COUNTS: Final = (1, 3, 5)
"""So many nodes may keep the ring: odd, as one more than an odd number bears no more failures."""

_ANY_HOST: Final = ("0.0.0.0", "::", "*")  # noqa: S104
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


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
    rebuild_bytes_per_s: float = 0.0
    rebalance_bytes_per_s: float = 0.0
    scrub_days: float = 14.0
    shard_rows_max: int = 250_000
    users_file: str = ""
    node: str = "node1"
    node_region: str = "r1"
    zone: str = "z1"
    cluster_listen: str = ""
    cluster_address: str = ""
    keepers: list[str] = []
    bootstrap_nodes: int = 0
    cluster_secret_file: str = ""
    cluster_ca: str = ""
    cluster_certificate: str = ""
    cluster_key: str = ""
    keystone_url: str = ""
    keystone_user: str = "atoll"
    keystone_project: str = "service"
    keystone_domain: str = "Default"
    keystone_password_file: str = ""
    cloud: bool = False
    cloud_listen: str = "127.0.0.1"
    cloud_port: int = 5000
    cloud_endpoint: str = ""
    cloud_database: str = ""
    cloud_region: str = "RegionOne"
    identity_token_s: int = 3600
    identity_lockout_attempts: int = 0
    identity_lockout_s: int = 1800
    identity_password_regex: str = ""
    identity_password_regex_said: str = ""
    identity_password_days: int = 0
    identity_password_history: int = 0
    identity_password_age_days: int = 0
    image_stores: list[str] = msgspec.field(default_factory=lambda: ["default"])
    image_size_max_bytes: int = 1024**4
    image_size_total_mib: int = -1
    image_stage_total_mib: int = -1
    image_count_total: int = -1
    image_count_uploading: int = -1
    image_delete_after_s: int = 0
    image_cache_bytes: int = 10 * 1024**3
    image_convert_to: str = ""
    image_show_multiple_locations: bool = False
    image_show_image_direct_url: bool = False
    image_property_protection_file: str = ""
    image_property_protection_rule_format: Literal["roles", "policies"] = "roles"
    image_web_hosts: list[str] = []
    image_web_ports: list[int] = msgspec.field(default_factory=lambda: [80, 443])
    volume_backends: list[str] = msgspec.field(default_factory=lambda: ["ring"])
    volume_cache_bytes: int = 1024**3
    volume_nbd_listen: str = ""
    volume_nbd_address: str = ""
    volume_nbd_certificate: str = ""
    volume_nbd_key: str = ""
    volume_nbd_client_ca: str = ""
    backup_encrypted: bool = False

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}; it must be from {low} to {high}")
        names = [text.partition("=")[0] for text in self.image_stores]
        if not names or len(set(names)) != len(names) or not all(map(_NAME.fullmatch, names)):
            raise ValueError("image_stores must be different NAMEs or NAME=POLICYs, at least one")
        names = [text.partition("=")[0] for text in self.volume_backends]
        if not names or len(set(names)) != len(names) or not all(map(_NAME.fullmatch, names)):
            raise ValueError("volume_backends must be different NAMEs or NAME=FOLDERs, at least one")
        if any(text.startswith("ring=") for text in self.volume_backends):
            raise ValueError("volume_backends: ring is in the object store and has no folder")
        self._check_nbd()
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("tls_certificate and tls_key go together")
        self._check_cluster()

    def _check_nbd(self) -> None:
        files = (self.volume_nbd_certificate, self.volume_nbd_key)
        if not self.volume_nbd_listen:
            if any((*files, self.volume_nbd_client_ca, self.volume_nbd_address)):
                raise ValueError("volume_nbd_*: nothing listens without volume_nbd_listen")
            return
        host, _ = host_and_port(self.volume_nbd_listen)
        if not all(files):
            raise ValueError("volume_nbd_listen needs volume_nbd_certificate and volume_nbd_key")
        if host in _ANY_HOST and not self.volume_nbd_address:
            raise ValueError("volume_nbd_address must be given: none connects to every interface")

    def _check_cluster(self) -> None:
        for name in ("node", "node_region", "zone"):
            if not _NAME.fullmatch(getattr(self, name)):
                raise ValueError(f"{name} must be 1 to 63 letters, digits, '.', '_' or '-'")
        files = (self.cluster_ca, self.cluster_certificate, self.cluster_key)
        if any(files) and not all(files):
            raise ValueError("cluster_ca, cluster_certificate and cluster_key go together")
        if not self.cluster_listen:
            alone = ("cluster_address", "keepers", "cluster_ca")
            if given := [name for name in alone if getattr(self, name)]:
                raise ValueError(f"{given[0]} is for a node of a cluster, which needs cluster_listen")
            return
        for address in (self.cluster_listen, self.own_address, *self.keepers):
            host_and_port(address)
        if host_and_port(self.own_address)[0] in _ANY_HOST:
            raise ValueError("cluster_address must be given: others can't connect to every interface")
        if len(self.keepers) not in KEEPER_COUNTS or len(set(self.keepers)) != len(self.keepers):
            raise ValueError("keepers must be the addresses of 1, 3 or 5 different nodes")
        if not self.cluster_secret_file:
            raise ValueError("a node of a cluster needs cluster_secret_file")

    @property
    def own_address(self) -> str:
        """Where other nodes connect to this one's first worker; empty for a node without a cluster."""
        return self.cluster_address or self.cluster_listen

    @property
    def keeps(self) -> bool:
        """Whether this node is a keeper; one without a cluster is its own."""
        return not self.cluster_listen or self.own_address in self.keepers

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

    @property
    def cloud_url(self) -> str:
        """The URL under which clients find the add-on."""
        host = f"[{self.cloud_listen}]" if ":" in self.cloud_listen else self.cloud_listen
        host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104
        return self.cloud_endpoint.rstrip("/") or f"http://{host}:{self.cloud_port}"


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
    ("rebuild_bytes_per_s", 0, 2**50),
    ("rebalance_bytes_per_s", 0, 2**50),
    ("scrub_days", 0, 3650),
    ("shard_rows_max", 1, 10**9),
    ("bootstrap_nodes", 0, NODES_MAX),
    ("cloud_port", 0, PORT_MAX),
    ("identity_token_s", 1, 365 * 86400),
    ("identity_lockout_attempts", 0, 1000),
    ("identity_lockout_s", 1, 365 * 86400),
    ("identity_password_days", 0, 3650),
    ("identity_password_history", 0, 24),
    ("identity_password_age_days", 0, 3650),
    ("image_size_max_bytes", 1, 2**50),
    ("image_size_total_mib", -1, 2**40),
    ("image_stage_total_mib", -1, 2**40),
    ("image_count_total", -1, 10**9),
    ("image_count_uploading", -1, 10**9),
    ("image_delete_after_s", 0, 365 * 86400),
    ("image_cache_bytes", 0, 2**50),
    ("volume_cache_bytes", 64 * 1024**2, 2**50),
)

_PATHS: Final = (
    "data",
    "tls_certificate",
    "tls_key",
    "users_file",
    "cluster_secret_file",
    "cluster_ca",
    "cluster_certificate",
    "cluster_key",
    "keystone_password_file",
    "image_property_protection_file",
    "volume_nbd_certificate",
    "volume_nbd_key",
    "volume_nbd_client_ca",
)


def host_and_port(address: str) -> tuple[str, int]:
    """The parts of HOST:PORT or [HOST]:PORT. Raises ValueError."""
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{address!r}: an IPv6 address goes in brackets, [::1]:8082")
    if not colon or not host or not port.isascii() or not port.isdigit():
        raise ValueError(f"{address!r} is not an address of the form HOST:PORT")
    if not 1 <= int(port) <= PORT_MAX:
        raise ValueError(f"{address!r}: the port is not within 1 … {PORT_MAX}")
    return host, int(port)


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
    fixed["volume_backends"] = [_backend(text, folder) for text in config.volume_backends]
    fixed["device_paths"] = [os.path.join(folder, path) for path in config.device_paths]
    return msgspec.structs.replace(config, **fixed)


def _backend(text: str, folder: str) -> str:
    name, _, path = text.partition("=")
    return f"{name}={os.path.join(folder, path)}" if path else name
