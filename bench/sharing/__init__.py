"""Results of several people: another checkout's cells merged; a method packed for others, and reviewed."""
