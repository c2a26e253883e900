"""Data sets of params.yaml: entered, listed, shown, and their raw files watched."""
