"""A user's images: looked at, described as a row of params.yaml, and entered."""
