"""Training curves for the trackers that people use: read from the files of cells, never by the training."""
