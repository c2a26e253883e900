"""Simulations of known truth behind docs/statistics.md; ``make simulations`` prints its tables."""
