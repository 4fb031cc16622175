"""The floor: clock, randomness, disk, tasks, configuration, telemetry. Imports nothing of Atoll."""
