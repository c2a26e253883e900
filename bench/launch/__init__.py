"""How stages are started: ``bench repro``, and a process that has imported the large libraries already."""
