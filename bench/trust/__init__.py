"""How far a run can be trusted: its data audited, its numbers verified, known mistakes tried out on it."""
