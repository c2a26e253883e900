"""What the machine does for a run: processes, locks, memory, and what it fails with."""
