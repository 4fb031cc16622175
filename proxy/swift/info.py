"""`GET /info`: what this Swift can do, within which limits; nothing that is not there is named."""

from importlib.metadata import PackageNotFoundError, version

from proxy.core.contract import Store
from proxy.core.types import CONTAINER_NAME_MAX_BYTES, OBJECT_NAME_MAX_BYTES, OBJECT_PUT_MAX_BYTES
from proxy.swift import archive, bulk, metadata, slo, slo_manifest, tempurl
from proxy.swift.account import ACCOUNT_NAME_MAX_BYTES
from proxy.swift.list import LISTING_LIMIT_MAX


def capabilities(store: Store) -> dict[str, object]:
    """The answer's content, section by section."""
    return {
        "swift": _swift(store),
        "slo": {
            "max_manifest_segments": slo_manifest.SEGMENTS_MAX,
            "max_manifest_size": slo.MANIFEST_MAX_BYTES,
            "min_segment_size": slo_manifest.SEGMENT_MIN_BYTES,
            "allow_async_delete": False,
        },
        "dlo": {},
        "tempauth": {"account_acls": False},
        "tempurl": {
            "methods": list(tempurl.METHODS),
            "allowed_digests": list(tempurl.DIGESTS),
            "deprecated_digests": ["sha1"],
            "incoming_allow_headers": [],
            "incoming_remove_headers": [],
            "outgoing_allow_headers": ["x-object-meta-public-*"],
            "outgoing_remove_headers": ["x-object-meta-*"],
        },
        "bulk_delete": {
            "max_deletes_per_request": bulk.DELETES_MAX,
            "max_failed_deletes": bulk.DELETES_MAX,
        },
        "bulk_upload": {
            "max_containers_per_extraction": archive.CONTAINERS_MAX,
            "max_failed_extractions": archive.FAILURES_MAX,
        },
    }


def _swift(store: Store) -> dict[str, object]:
    return {
        "version": _version(),
        "max_file_size": OBJECT_PUT_MAX_BYTES,
        "max_header_size": metadata.HEADER_VALUE_MAX_BYTES,
        "max_meta_name_length": metadata.META_NAME_MAX_BYTES,
        "max_meta_value_length": metadata.META_VALUE_MAX_BYTES,
        "max_meta_count": metadata.META_COUNT_MAX,
        "max_meta_overall_size": metadata.META_OVERALL_MAX_BYTES,
        "max_object_name_length": OBJECT_NAME_MAX_BYTES,
        "max_container_name_length": CONTAINER_NAME_MAX_BYTES,
        "max_account_name_length": ACCOUNT_NAME_MAX_BYTES,
        "container_listing_limit": LISTING_LIMIT_MAX,
        "account_listing_limit": LISTING_LIMIT_MAX,
        "extra_header_count": 0,
        "strict_cors_mode": True,
        "allow_account_management": False,
        "account_autocreate": True,
        "policies": _policies(store),
    }


def _policies(store: Store) -> list[dict[str, object]]:
    """The policies, the default one marked as Swift marks it."""
    marked: dict[str, object] = {"default": True}
    return [
        {"name": name, "aliases": name, **(marked if name == store.default_policy else {})}
        for name in store.policies
    ]


def _version() -> str:
    try:
        return version("atoll")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "0"
