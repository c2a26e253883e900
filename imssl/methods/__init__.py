"""One file per method, named as users name it."""
