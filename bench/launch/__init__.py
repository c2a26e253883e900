"""How stages are started: by DVC, in a warm process, one at a time."""
