"""What `bench perf` measures, a module per group of figures."""
