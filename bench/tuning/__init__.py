"""``bench tune``: a search over a method's settings on validation images, with one budget for all methods."""
