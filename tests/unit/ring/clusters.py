"""Small clusters for the ring's tests, and plain re-statements of what the ring promises.

Nothing here uses the builder's own arithmetic: shares are found with fractions, counts with loops.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import combinations_with_replacement

from ring.lookup import Ring
from ring.types import Device, DeviceState, Placement

CLUSTER_ID = "c0ffee" + "0" * 26
Path = tuple[str, ...]


def device(
    device_id: int,
    weight: float = 1.0,
    *,
    region: str = "r1",
    zone: str = "z1",
    node: str = "n1",
    device_class: str = "",
    state: DeviceState = DeviceState.ACTIVE,
) -> Device:
    """A device with what a test doesn't care about filled in."""
    return Device(
        id=device_id,
        incarnation=f"{device_id:032x}",
        region=region,
        zone=zone,
        node=node,
        address=f"{node}:7000",
        path=f"/srv/{device_id}",
        weight=weight,
        device_class=device_class,
        state=state,
    )


def cluster(zones: int, nodes: int, per_node: int, weights: Sequence[float] = (1.0,)) -> list[Device]:
    """zones x nodes x per_node devices; the weights go round."""
    places = [(z, n) for z in range(zones) for n in range(nodes) for _ in range(per_node)]
    return [
        device(i, weights[i % len(weights)], zone=f"z{z}", node=f"n{z}-{n}")
        for i, (z, n) in enumerate(places)
    ]


def paths(one: Device) -> list[Path]:
    """The failure domains of a device, the widest first, itself last."""
    full = (one.region, one.zone, one.node, str(one.id))
    return [full[: tier + 1] for tier in range(4)]


def usable(devices: Iterable[Device], placement: Placement) -> list[Device]:
    """The devices that a placement may use."""
    return [d for d in devices if d.share_weight > 0 and placement.device_class in ("", d.device_class)]


def naive_caps(devices: Sequence[Device], replicas: int) -> list[int]:
    """Most replicas of a partition per device, region, zone and node, by trying every choice."""
    best = min(_crowding(choice) for choice in combinations_with_replacement(devices, replicas))
    return list(best)


def _crowding(choice: Iterable[Device]) -> tuple[int, ...]:
    counts = [Counter(paths(d)[tier] for d in choice) for tier in (3, 0, 1, 2)]
    return tuple(max(count.values()) for count in counts)


def naive_shares(devices: Sequence[Device], replicas: int, caps: Sequence[int]) -> dict[int, Fraction]:
    """Replicas per partition of each device: fill all in proportion until a domain is full, go on.

    caps: per device, region, zone, node as from `naive_caps`.
    """
    room = _rooms(devices, caps)
    room[()] = replicas
    share = {d.id: Fraction(0) for d in devices}
    growing = list(devices)
    while growing:
        steps: dict[Path, Fraction] = {}
        for path, limit in room.items():
            inside = [d for d in devices if path in [(), *paths(d)]]
            speed = sum(Fraction(d.weight) for d in inside if d in growing)
            if speed:
                steps[path] = (limit - sum(share[d.id] for d in inside)) / speed
        step = min(steps.values())
        for d in growing:
            share[d.id] += step * Fraction(d.weight)
        full = {path for path, time in steps.items() if time == step}
        growing = [d for d in growing if not full & {(), *paths(d)}]
    return share


def _rooms(devices: Sequence[Device], caps: Sequence[int]) -> dict[Path, int]:
    """What each domain takes of one partition: its tier's cap, or what its children take."""
    by_tier = [caps[1], caps[2], caps[3], caps[0]]
    room: dict[Path, int] = {}
    for tier in (3, 2, 1, 0):
        for path in {paths(d)[tier] for d in devices}:
            inside = [p for p in room if len(p) == tier + 2 and p[:-1] == path]
            below = sum(room[p] for p in inside) if tier < 3 else by_tier[3]
            room[path] = min(by_tier[tier], below)
    return room


def assert_settled(ring: Ring) -> None:
    """Every promise about a ring that has nothing left to move."""
    by_id = {d.id: d for d in ring.members}
    for placement in ring.placements:
        devices = usable(ring.members, placement)
        columns = ring.tables[placement.name].T.tolist()
        held = Counter(i for column in columns for i in column)
        assert set(held) <= {d.id for d in devices}
        _assert_shares(ring, placement, devices, held)
        for tier in range(4):
            _assert_even(ring, placement, tier, by_id, columns)


def _assert_shares(
    ring: Ring, placement: Placement, devices: Sequence[Device], held: Counter[int]
) -> None:
    caps = naive_caps(devices, placement.replicas)
    shares = naive_shares(devices, placement.replicas, caps)
    for device_id, share in shares.items():
        fair = share * ring.partition_count
        assert abs(held[device_id] - fair) < 1, (placement.name, device_id, held[device_id], fair)


def _assert_even(
    ring: Ring,
    placement: Placement,
    tier: int,
    by_id: dict[int, Device],
    columns: Sequence[Sequence[int]],
) -> None:
    """Each partition's replicas per domain are within one of what the domain holds of all."""
    domain = {i: paths(d)[tier] for i, d in by_id.items()}
    total = Counter(domain[i] for column in columns for i in column)
    for partition, column in enumerate(columns):
        count = Counter(domain[i] for i in column)
        for path, whole in total.items():
            low, high = whole // ring.partition_count, -(-whole // ring.partition_count)
            assert low <= count[path] <= high, (placement.name, partition, path, count[path])
