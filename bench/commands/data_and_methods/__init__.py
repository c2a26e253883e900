"""Verbs that enter data sets, methods and encoders into params.yaml, list them and take them out."""
