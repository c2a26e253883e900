"""The machine under a run: worker processes, the lock, memory, and messages for its failures."""
