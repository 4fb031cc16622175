"""Makes the repair workers of one process and the runner that they run in."""

from collections.abc import Callable, Collection, Iterable
from typing import Final

from proxy.core.blobs import Blobs
from proxy.core.owners import Owners
from proxy.core.placement import Placement
from proxy.core.resharding import Resharding
from proxy.core.rows import Rows
from proxy.core.store import CoreStore
from proxy.repair import (
    audit,
    clear,
    collect,
    container_walk,
    covering,
    expire,
    leftovers,
    mend,
    rebalance,
    rebuild,
    reclaim,
    repolicy,
    reshard,
    rewrite,
    scrub,
    sweep,
    sync,
)
from proxy.repair.runner import Runner
from proxy.repair.throttle import ForegroundLatency, Throttle
from ring.lookup import Ring
from runtime.clock import Clock, HybridClock
from runtime.config import Config
from runtime.randomness import Randomness
from runtime.tasks import TaskOwner
from storage.contract import DeviceClient
from storage.device.engine import Device
from tools.changing import Away

DAY_S: Final = 86400.0


class RepairWorkers:
    """The workers of one process: made per device, as devices come and go."""

    def __init__(
        self,
        config: Config,
        store: CoreStore,
        placement: Placement,
        ring: Callable[[], Ring],
        stamps: HybridClock,
        latency: ForegroundLatency,
        clock: Clock,
        randomness: Randomness,
        tasks: TaskOwner,
        paused: Collection[str] = (),
    ) -> None:
        """paused: names of workers that an operator has paused before."""
        throttle = Throttle(latency, clock, config.repair_latency_factor)
        self.runner = Runner(tasks, throttle, clock, randomness, paused)
        self._config = config
        self._store = store
        self._placement = placement
        self._ring = ring
        self._clock = clock
        self._randomness = randomness
        self._rows = Rows(placement, stamps, clock, randomness)  # its latency is no request's
        self._owners = Owners(self._rows)
        self._blobs = Blobs(placement, clock, randomness)  # what it misses, rebuilding finds
        self._leftovers: dict[int, leftovers.Leftovers] = {}
        self._movers: dict[int, rebalance.Rebalancer] = {}
        self.runner.add(
            mend.Mending(store.mender, self._owners, clock, throttle.pace()), mend.LOOK_AGAIN_S
        )
        self._sync = sync.Sync(ring, placement, self._rows, (), clock, throttle.pace())
        self.runner.add(self._sync, sync.AGAIN_S)
        self._reclaim = reclaim.Reclaim(ring, placement, (), clock, throttle.pace())
        self.runner.add(self._reclaim, reclaim.AGAIN_S)
        self._add_containers(randomness)

    def _add_containers(self, randomness: Randomness) -> None:
        """What works on containers, and clears up after that."""
        rows, placement, clock = self._rows, self._placement, self._clock
        pace = self.runner.throttle.pace
        self.container_rows = Resharding(rows, clock, randomness)
        walks = [container_walk.ContainerWalk(placement, (), clock) for _ in range(2)]
        self.resharder = reshard.Resharder(
            rows,
            self.container_rows,
            walks[0],
            clock,
            pace(reshard.LOOKS_PER_S),
            self._config.shard_rows_max,
        )
        self.repolicier = repolicy.Repolicier(
            rows,
            self.container_rows,
            rewrite.Rewriter(rows, self.container_rows, self._blobs, randomness),
            placement.policy,
            walks[1],
            clock,
            pace(),
        )
        clearer = clear.Clearer(rows, placement, (), clock, pace())
        self._over_devices: list[container_walk.ContainerWalk | clear.Clearer] = [*walks, clearer]
        self.runner.add(self.resharder)
        self.runner.add(self.repolicier)
        self.runner.add(clearer, clear.LOOK_AGAIN_S)

    def follow(self, owned: Iterable[DeviceClient]) -> None:
        """There is another ring: work on these devices from now on, and on no others."""
        devices = {device.device_id: device for device in owned}
        self._sync.owned = self._reclaim.owned = frozenset(devices)
        for worker in self._over_devices:
            worker.owned = frozenset(devices)
        for device_id in self._leftovers.keys() - devices.keys():
            del self._leftovers[device_id], self._movers[device_id]
            self.runner.drop(f"d{device_id}")
        for device_id in devices.keys() - self._leftovers.keys():
            self._add(devices[device_id])
        self.runner.look()

    def _add(self, device: DeviceClient) -> None:
        config, clock, pace = self._config, self._clock, self.runner.throttle.pace
        grace_s, orphan_grace_s = config.collect_grace_s, config.orphan_grace_s
        left = leftovers.Leftovers(
            device.device_id,
            self._ring,
            self._placement,
            self._rows,
            clock,
            pace(),
            covering.ages(orphan_grace_s),
        )
        self._leftovers[device.device_id] = left
        self.runner.add(left, leftovers.LOOK_AGAIN_S)
        self._add_moving(device)
        self.runner.add(
            collect.Collector(device, self._owners, self._blobs, clock, pace(), grace_s),
            collect.look_again_s(grace_s),
        )
        self.runner.add(
            audit.Auditor(
                device, self._owners, clock, pace(audit.BLOBS_PER_S), grace_s, orphan_grace_s
            ),
            audit.again_s(orphan_grace_s),
        )
        if isinstance(device, Device):
            files = device.blobs.sweep
            self.runner.add(sweep.Sweeper(device.device_id, files, clock, pace()), sweep.AGAIN_S)
            if config.scrub_days:
                self._add_scrubbing(device)

    def _add_moving(self, device: DeviceClient) -> None:
        config, clock, pace = self._config, self._clock, self.runner.throttle.pace
        limit = pace(config.rebuild_bytes_per_s)
        self.runner.add(
            rebuild.Rebuilder(
                device, self._ring, self._placement, self._blobs, self._owners, clock, limit
            ),
            rebuild.LOOK_AGAIN_S,
        )
        limit = pace(config.rebalance_bytes_per_s)
        mover = rebalance.Rebalancer(device, self._ring, self._placement, clock, limit)
        self._movers[device.device_id] = mover
        expirer = expire.Expirer(
            device, self._ring, self._rows, clock, self._randomness, pace(expire.ROWS_PER_S)
        )
        self.runner.add(expirer, expire.LOOK_AGAIN_S)
        self.runner.add(mover, rebalance.LOOK_AGAIN_S)

    def _add_scrubbing(self, device: Device) -> None:
        scrubber = scrub.Scrubber(
            device,
            device,
            self._rows,
            self._ring,
            device.scrub_file,
            self._clock,
            self.runner.throttle.pace(),
            self._config.scrub_days * DAY_S,
            lambda: self.runner.run_now(rebuild.Rebuilder.name),
        )
        self.runner.add(scrubber, scrub.LOOK_AGAIN_S)

    def away(self, epoch: int) -> Away:
        """What is not at home on these devices, as far as they were looked through in this epoch."""
        left = [worker.left for worker in self._leftovers.values()]
        moving = [mover.astray for mover in self._movers.values()]
        return Away(
            leftovers=sum(one.partitions for one in left if one.epoch == epoch),
            misplaced=sum(one.blobs for one in moving if one.epoch == epoch),
            misplaced_bytes=sum(one.size_bytes for one in moving if one.epoch == epoch),
            unknown=len(self._unknown(epoch)),
        )

    def _unknown(self, epoch: int) -> set[int]:
        """Devices that were not looked through in this epoch yet."""
        left = {number for number, worker in self._leftovers.items() if worker.left.epoch != epoch}
        return left | {number for number, mover in self._movers.items() if mover.astray.epoch != epoch}
