"""``bench verify``: every checksum and number of a finished run, checked again from what is stored."""
