"""Which segments are worth compacting."""

from storage.device.compaction import COMPACT_BELOW_FULL, candidates, live_ratio
from storage.device.config import DeviceConfig


def test_the_emptiest_come_first_and_the_written_one_never() -> None:
    live = {1: 40, 2: 10, 3: 0, 4: 60, 9: 0}
    sizes = {1: 100, 2: 100, 3: 100, 4: 100, 5: 100, 9: 100}
    assert candidates(live, sizes, newest=9, live_ratio=0.5) == [3, 5, 2, 1]


def test_an_empty_file_is_nothing_to_compact() -> None:
    assert candidates({1: 0}, {1: 0}, newest=2, live_ratio=0.5) == []


def test_a_full_device_is_compacted_further() -> None:
    config = DeviceConfig(reserve_bytes=100)
    assert live_ratio(config, 100) == config.compact_below
    assert live_ratio(config, 99) == COMPACT_BELOW_FULL > config.compact_below
