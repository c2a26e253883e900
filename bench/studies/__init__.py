"""Published studies: finished chains in a compact form in git, brought back, checked and compared with."""
