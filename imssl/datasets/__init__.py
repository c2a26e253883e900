"""Medical image data sets: one adapter per source, one prepared form for all."""
