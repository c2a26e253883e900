"""Whether a run can be believed: its data, its numbers, and the traps it might have fallen into."""
