"""Speed and memory on this machine: the benchmarks of ``bench perf``, the measurements of ``bench plan``."""
