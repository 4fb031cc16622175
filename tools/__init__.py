"""The `atoll` command, one file per subcommand, and the benchmarks."""
