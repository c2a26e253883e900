"""Does the paper reproduce: its claims, what a run measures of them, and how the run differs."""
