"""Medical image data sets: one adapter for each source, and one prepared form for all of them."""
