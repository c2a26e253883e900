"""Numbers only: the results of a run read from disk, over seeds and over resampled patients."""
