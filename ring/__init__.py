"""Pure placement: devices to partitions. No I/O beyond the ring file, no asyncio."""
