"""The benchmarks of ``bench perf``, a module per group."""
