"""Verbs on what a run has found: report, trust, sharing."""
