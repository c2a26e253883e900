"""Data sets of params.yaml: looked at, entered, listed, shown, and their raw files watched."""
