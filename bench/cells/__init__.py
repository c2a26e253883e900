"""The cells of a run: what decides their numbers, where they are kept, and the files in them."""
