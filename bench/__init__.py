"""The suite around imssl: protocol, stages, cells, statistics and report."""
