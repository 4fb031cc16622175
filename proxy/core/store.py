"""The store: wires the core's rooms together and keeps the contract that the front ends call."""

from proxy.core.blobs import Blobs
from proxy.core.containers import Containers
from proxy.core.mender import Mender
from proxy.core.multipart import Uploads
from proxy.core.object_rows import ObjectRows
from proxy.core.objects import Objects
from proxy.core.operations import NoteLatency
from proxy.core.placement import Placement
from proxy.core.rows import Rows
from proxy.core.shard_scan import ShardScan
from proxy.core.types import (
    PART_MIN_BYTES,
    Container,
    ObjectAttributes,
    OpenObject,
    Policy,
    UploadHead,
)
from proxy.core.upload_ends import UploadEnds
from proxy.core.upload_rows import UploadRows
from runtime.clock import Clock, HybridClock
from runtime.randomness import Randomness
from runtime.tasks import TaskOwner


class CoreStore:
    """Keeps `proxy.core.contract.Store`; see there for every verb."""

    def __init__(
        self,
        placement: Placement,
        policies: dict[str, Policy],
        default_policy: str,
        stamps: HybridClock,
        clock: Clock,
        randomness: Randomness,
        tasks: TaskOwner,
        part_min_bytes: int = PART_MIN_BYTES,
        note_latency: NoteLatency | None = None,
    ) -> None:
        self.policies = policies
        self.default_policy = default_policy
        self.rows = Rows(placement, stamps, clock, randomness, note_latency)
        self.mender = Mender(placement, clock)
        self.blobs = Blobs(placement, clock, randomness, self.mender.lost)
        scan = ShardScan(self.rows)
        self._containers = Containers(self.rows, placement, clock, randomness, default_policy)
        object_rows = ObjectRows(self.rows, self._containers, clock, randomness)
        self.objects = Objects(object_rows, self._containers, self.blobs, placement, scan)
        self._upload_rows = UploadRows(self.rows, object_rows, scan)
        self._uploads = Uploads(self._upload_rows, object_rows, self.objects, scan)
        self._upload_ends = UploadEnds(self.rows, object_rows, self._upload_rows, tasks, part_min_bytes)
        # The hot verbs are the rooms' own methods: no call in between.
        self.container = self._containers.get
        self.bucket = self._containers.bucket
        self.put_object = self.objects.put
        self.head_object = self.objects.head
        self.delete_object = self.objects.delete
        self.delete_existing = self.objects.delete_existing
        self.update_object = self.objects.update
        self.put_manifest = self.objects.put_manifest
        self.copy_object = self.objects.copy
        self.list_objects = self.objects.list_objects
        self.account_stat = self._containers.account_stat
        self.account_meta = self._containers.account_meta
        self.update_account = self._containers.update_account
        self.list_containers = self._containers.page
        self.update_container = self._containers.update
        self.delete_container = self._containers.delete
        self.container_stat = self._containers.stat
        self.upload = self._uploads.get
        self.put_part = self._uploads.put_part
        self.list_parts = self._uploads.list_parts
        self.list_uploads = self._uploads.list_uploads
        self.complete_upload = self._upload_ends.complete
        self.abort_upload = self._upload_ends.abort

    async def open_object(self, container: Container, name: str, *, raw: bool = False) -> OpenObject:
        return await self.objects.open(container, name, raw=raw)

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
        return await self._containers.create(
            account,
            name,
            policy=policy,
            meta=meta or {},
            system=system or {},
            must_be_bucket=must_be_bucket,
        )

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
        return await self._uploads.create(
            container,
            name,
            attributes,
            owner=owner,
            checksum_algorithm=checksum_algorithm,
            checksum_type=checksum_type,
        )
