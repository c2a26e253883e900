"""Verbs that run, foretell, watch and tune."""
