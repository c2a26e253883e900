"""Measurements of the suite on the user's machine: ``bench perf``; run by hand, never by the tests."""
