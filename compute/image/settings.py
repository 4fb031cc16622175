"""What an operator may choose about images. Defaults are upstream's where it has one."""

from typing import Final, NamedTuple

import msgspec

GIB: Final = 1024**3
SEGMENT_BYTES: Final = 4 * GIB
"""An image is stored as objects of at most this size."""


class Store(NamedTuple):
    """A place for images: a container of the object store. policy: of storage, None for its default."""

    name: str
    policy: str | None

    @property
    def container(self) -> str:
        """Where its objects are."""
        return f"images-{self.name}"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """stores: `name` or `name=policy`, the first is the default. delete_after_s: bytes stay so long.

    *_total, *_total_mib, count_uploading: what a project may have; -1 for no limit. cache_bytes: of the
    host's disk for images that are read often, 0 for none.

    show_multiple_locations, show_image_direct_url: where bytes are, for those who may see it.

    property_protection_*: a file of protected properties, and what its words are: roles or policies.

    web_*: whence web-download may read. Without web_hosts, from any public address; those that are
    named may be on this machine or in its network, too.
    """

    stores: tuple[str, ...] = ("default",)
    size_max_bytes: int = 1024 * GIB
    properties_max: int = 128
    tags_max: int = 128
    members_max: int = 128
    limit_default: int = 25
    limit_max: int = 1000
    delete_after_s: int = 0
    size_total_mib: int = -1
    stage_total_mib: int = -1
    count_total: int = -1
    count_uploading: int = -1
    cache_bytes: int = 10 * GIB
    task_keep_s: int = 48 * 3600
    convert_to: str = ""
    show_multiple_locations: bool = False
    show_image_direct_url: bool = False
    property_protection_file: str = ""
    property_protection_rule_format: str = "roles"
    web_schemes: tuple[str, ...] = ("http", "https")
    web_hosts: tuple[str, ...] = ()
    web_ports: tuple[int, ...] = (80, 443)

    @property
    def places(self) -> dict[str, Store]:
        """The stores by name, the default first."""
        found = {}
        for text in self.stores:
            name, _, policy = text.partition("=")
            found[name] = Store(name, policy or None)
        return found

    @property
    def default_store(self) -> Store:
        """Where images go of which nothing else is said."""
        return next(iter(self.places.values()))
