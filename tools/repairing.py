"""Makes the repair workers of one process and the runner that they run in."""

from collections.abc import Iterable

from proxy.core.owners import Owners
from proxy.core.placement import Placement
from proxy.core.rows import Rows
from proxy.core.store import CoreStore
from proxy.repair import audit, collect, mend, sweep
from proxy.repair.runner import Runner
from proxy.repair.throttle import ForegroundLatency, Throttle
from runtime.clock import Clock, HybridClock
from runtime.config import Config
from runtime.randomness import Randomness
from runtime.tasks import TaskOwner
from storage.contract import DeviceClient
from storage.device.engine import Device


def repair_workers(
    config: Config,
    store: CoreStore,
    placement: Placement,
    owned: Iterable[DeviceClient],
    stamps: HybridClock,
    latency: ForegroundLatency,
    clock: Clock,
    randomness: Randomness,
    tasks: TaskOwner,
) -> Runner:
    """All workers of this process; `owned` are its devices. Its own rows' latency is no request's."""
    throttle = Throttle(latency, clock, config.repair_latency_factor)
    runner = Runner(tasks, throttle, clock, randomness)
    rows = Rows(placement, stamps, clock, randomness)
    owners = Owners(rows)
    runner.add(mend.Mending(store.mender, clock, throttle.pace()), mend.LOOK_AGAIN_S)
    for device in owned:
        runner.add(
            collect.Collector(
                device,
                owners,
                store.blobs,
                clock,
                throttle.pace(),
                config.collect_grace_s,
            ),
            collect.look_again_s(config.collect_grace_s),
        )
        runner.add(
            audit.Auditor(
                device,
                owners,
                clock,
                throttle.pace(audit.BLOBS_PER_S),
                config.collect_grace_s,
                config.orphan_grace_s,
            ),
            audit.again_s(config.orphan_grace_s),
        )
        if isinstance(device, Device):
            files = device.blobs.sweep
            runner.add(sweep.Sweeper(device.device_id, files, clock, throttle.pace()), sweep.AGAIN_S)
    return runner
