"""The verbs of the store, as the front ends call them. `proxy/core/store.py` keeps this contract.

Every verb may raise Unavailable, Overloaded and Full; the other errors are named at each. A write is
durable on return. Where a verb ends with Unavailable its outcome is unknown: it may have happened.
Cancelling a verb leaves nothing half done that a later request or a collector would not finish.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from proxy.core.types import (
    NO_CONDITIONS,
    AccountStat,
    Body,
    CompletedPart,
    Conditions,
    Container,
    ContainerPage,
    ContainerStat,
    ListQuery,
    ObjectAttributes,
    ObjectInfo,
    ObjectPage,
    OpenObject,
    Part,
    PartHead,
    PartPage,
    Policy,
    UploadHead,
    UploadPage,
)

Combine = Callable[[Sequence[PartHead]], dict[str, str]]


class Store(Protocol):
    """One store, seen through one proxy."""

    policies: dict[str, Policy]
    default_policy: str

    # -- accounts --

    async def account_stat(self, account: str) -> AccountStat:
        """Totals and metadata; an account exists as soon as it is asked for."""

    async def account_meta(self, account: str) -> dict[str, str]:
        """The account's metadata alone: one row is read, whatever the account holds."""

    async def update_account(self, account: str, changes: dict[str, str]) -> None:
        """Set metadata (names lower-case); an empty value removes. Raises MetadataTooLarge."""

    async def list_containers(self, account: str, query: ListQuery) -> ContainerPage:
        """Containers in byte order of their names."""

    # -- containers --

    async def create_container(
        self,
        account: str,
        name: str,
        *,
        policy: str = "",
        meta: dict[str, str] | None = None,
        system: dict[str, str] | None = None,
        must_be_bucket: bool = False,
    ) -> Container:
        """Create a container, and claim its name as a bucket where it is free.

        Raises ContainerExists, PolicyConflict, UnknownPolicy, InvalidName, NameTooLong; with
        must_be_bucket (S3) BucketNameTaken where another account has the name.
        """

    async def container(self, account: str, name: str, *, fresh: bool = False) -> Container:
        """The container. Not fresh: its id, policy and shards are right, its metadata may be old.
        Raises NoSuchContainer."""

    async def bucket(self, name: str, account: str = "", *, fresh: bool = False) -> Container:
        """The container that S3 clients call `name`: the account's own, else the global holder of the
        bucket name. Raises NoSuchContainer."""

    async def update_container(
        self, container: Container, meta: dict[str, str], system: dict[str, str]
    ) -> Container:
        """Merge metadata and settings; an empty value removes.
        Raises NoSuchContainer, MetadataTooLarge."""

    async def delete_container(self, container: Container) -> None:
        """Delete an empty container. Raises ContainerNotEmpty, NoSuchContainer."""

    async def container_stat(self, container: Container) -> ContainerStat:
        """Objects and bytes."""

    # -- objects --

    async def put_object(
        self,
        container: Container,
        name: str,
        body: Body,
        attributes: ObjectAttributes,
        *,
        conditions: Conditions = NO_CONDITIONS,
        md5: str = "",
        checksum_type: str = "",
    ) -> ObjectInfo:
        """Store an object. md5: hex digest that the body must have, "" for any.

        Raises NoSuchContainer, InvalidName, NameTooLong, MetadataTooLarge, ObjectTooLarge, BadDigest,
        IncompleteBody, PreconditionFailed (if_match, if_none_match), NoSuchObject (if_match, absent).
        """

    async def put_manifest(
        self,
        container: Container,
        name: str,
        parts: list[Part],
        attributes: ObjectAttributes,
        *,
        etag: str,
        manifest_etag: str = "",
        conditions: Conditions = NO_CONDITIONS,
    ) -> ObjectInfo:
        """Store an object made of referenced parts (Swift SLO). The caller has checked the parts."""

    async def head_object(self, container: Container, name: str) -> ObjectInfo:
        """Raises NoSuchContainer, NoSuchObject."""

    async def open_object(self, container: Container, name: str, *, raw: bool = False) -> OpenObject:
        """Open an object for reading. raw: a manifest's own content instead of what it refers to.
        Raises NoSuchContainer, NoSuchObject, Damaged, BadReference."""

    async def update_object(
        self, container: Container, name: str, attributes: ObjectAttributes
    ) -> ObjectInfo:
        """Replace content headers, user metadata and expiry; the bytes stay (Swift POST, S3 copy onto
        itself). An empty content_type keeps the old one. Raises NoSuchObject, MetadataTooLarge."""

    async def copy_object(
        self,
        source: Container,
        source_name: str,
        target: Container,
        target_name: str,
        attributes: ObjectAttributes | None,
        *,
        source_conditions: Conditions = NO_CONDITIONS,
        conditions: Conditions = NO_CONDITIONS,
    ) -> ObjectInfo:
        """Copy within the store; attributes None keeps the source's. Large bodies are streamed.
        Raises as open_object and put_object; PreconditionFailed for source_conditions, too."""

    async def delete_object(
        self, container: Container, name: str, *, conditions: Conditions = NO_CONDITIONS
    ) -> None:
        """Delete. Raises NoSuchObject only with conditions; else absent is success (see `existed`)."""

    async def delete_existing(self, container: Container, name: str) -> ObjectInfo:
        """Delete and tell what was there. Raises NoSuchObject (Swift's 404)."""

    async def list_objects(self, container: Container, query: ListQuery) -> ObjectPage:
        """A page of objects in byte order of their names. Raises NoSuchContainer."""

    # -- multipart --

    async def create_upload(
        self,
        container: Container,
        name: str,
        attributes: ObjectAttributes,
        *,
        owner: str = "",
        checksum_algorithm: str = "",
        checksum_type: str = "",
    ) -> UploadHead:
        """Begin an upload. Raises as put_object."""

    async def upload(self, container: Container, name: str, upload_id: str) -> UploadHead:
        """Raises NoSuchUpload."""

    async def put_part(
        self, container: Container, name: str, upload_id: str, number: int, body: Body, *, md5: str = ""
    ) -> PartHead:
        """Store a part (1..10,000), replacing an earlier one. Raises NoSuchUpload, as put_object."""

    async def list_parts(
        self, container: Container, name: str, upload_id: str, after_number: int, limit: int
    ) -> PartPage:
        """Raises NoSuchUpload."""

    async def list_uploads(
        self, container: Container, query: ListQuery, upload_marker: str
    ) -> UploadPage:
        """Uploads under way; query.marker is the key marker."""

    async def complete_upload(
        self,
        container: Container,
        name: str,
        upload_id: str,
        parts: list[CompletedPart],
        *,
        conditions: Conditions = NO_CONDITIONS,
        combine: Combine | None = None,
        size_bytes: int | None = None,
    ) -> ObjectInfo:
        """Make the object of the named parts without copying a byte; idempotent for the same parts.

        combine: makes the object's checksums of its parts', may raise BadDigest. size_bytes: what the
        parts must add up to, else InvalidPart.
        Raises NoSuchUpload, InvalidPart, InvalidPartOrder, PartTooSmall, BadDigest,
        PreconditionFailed."""

    async def abort_upload(self, container: Container, name: str, upload_id: str) -> None:
        """Give up an upload and its parts. Raises NoSuchUpload."""
