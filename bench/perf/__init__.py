"""Measurements of the suite itself; run by hand, never by the tests."""
