"""Where `atoll ring` finds the ring and puts the next one: at a running node, or in a file.

A running node is asked over its control socket, and the ring is the whole cluster's. Where none runs
the ring is the file in the data directory: to look at, and to change as long as no device holds data.
"""

import os
from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

from ring.errors import InvalidChange
from ring.file import load, save
from ring.lookup import Ring
from ring.plan import Plan
from storage.device import identity
from tools.control import NodeState
from tools.control_client import ControlClient

RATE_BYTES_PER_S: Final = 50_000_000
"""What one device takes or gives of a ring change, beside its requests: for estimates."""


class Estimate(NamedTuple):
    """What a plan moves, and how long its busiest device has to do at RATE_BYTES_PER_S."""

    size_bytes: int
    time_s: float


class RingPlace(Protocol):
    """The ring, wherever it is."""

    def load(self) -> Ring:
        """The present one."""

    def require_rest(self, *, now: bool) -> None:
        """Raise InvalidChange where a ring change is under way. now: blobs may still be moving."""

    def save(self, ring: Ring) -> None:
        """Make it the next one. Raises InvalidChange, ControlRefused."""

    def nodes(self) -> list[NodeState]:
        """The cluster's nodes. Raises InvalidChange where nobody can be asked."""

    def sizes(self) -> Mapping[str, float] | None:
        """Bytes per partition-replica by placement, where that is known."""


class RingFile:
    """A ring that no running node is asked for."""

    def __init__(self, path: str) -> None:
        self._path = path

    def load(self) -> Ring:
        """See RingPlace.load."""
        return load(self._path)

    def require_rest(self, *, now: bool) -> None:
        """Nothing moves."""

    def save(self, ring: Ring) -> None:
        """See RingPlace.save."""
        for member in self.load().members:
            if os.path.exists(os.path.join(member.path, identity.FILE_NAME)):
                raise InvalidChange(
                    f"device {member.id} at {member.path} is in use and its node is not running: its "
                    "data would be looked for where they are not. Start it, then ask again. The ring "
                    "was not changed"
                )
        save(ring, self._path)

    def nodes(self) -> list[NodeState]:
        """See RingPlace.nodes."""
        raise InvalidChange("no node is running here that knows the others: `atoll up` starts it")

    def sizes(self) -> None:
        """Unknown."""
        return


class RunningRing:
    """The ring of a running node's cluster."""

    def __init__(self, client: ControlClient) -> None:
        self._client = client

    def load(self) -> Ring:
        """See RingPlace.load."""
        return self._client.ring()

    def require_rest(self, *, now: bool) -> None:
        """See RingPlace.require_rest."""
        state = self._client.state()
        if state.joint:
            raise InvalidChange(
                f"the change to epoch {state.epoch} is under way: {state.settled:,} of "
                f"{state.expected:,} row replicas are settled. Apply again when all are"
            )
        if state.unknown and not now:
            raise InvalidChange(
                f"the change to epoch {state.epoch} is under way: {state.unknown:,} devices have not "
                "been looked through yet. Apply again in a moment, or now with --now"
            )
        if state.misplaced and not now:
            raise InvalidChange(
                f"the change to epoch {state.epoch} is under way: {state.misplaced:,} blobs and shards "
                f"({state.misplaced_bytes / 1e9:,.1f} GB) are still moving. Apply again when they have "
                "moved, or now with --now"
            )

    def save(self, ring: Ring) -> None:
        """See RingPlace.save."""
        self._client.replace_ring(ring)

    def nodes(self) -> list[NodeState]:
        """See RingPlace.nodes."""
        return self._client.nodes()

    def sizes(self) -> Mapping[str, float]:
        """See RingPlace.sizes."""
        return self._client.sizes()


def place_of(path: str, data: str | None) -> RingPlace:
    """data: the data directory, None where a ring file was named."""
    if data is not None:
        client = ControlClient(data)
        if client.runs:
            return RunningRing(client)
    return RingFile(path)


def estimate(step: Plan, sizes: Mapping[str, float]) -> Estimate:
    """What a plan moves in bytes, and for how long."""
    total = 0.0
    busy: dict[int, float] = {}
    for part in step.parts:
        size = sizes.get(part.placement.name, 0.0)
        total += size * len(part.moves)
        for ends in (part.moves.sources.tolist(), part.targets.tolist()):
            for device_id in ends:
                busy[device_id] = busy.get(device_id, 0.0) + size
    return Estimate(round(total), max(busy.values(), default=0.0) / RATE_BYTES_PER_S)
