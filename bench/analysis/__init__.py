"""What the results say: comparisons with their uncertainty, the paper's claims, and how the run differs."""
