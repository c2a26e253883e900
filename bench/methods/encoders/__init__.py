"""Rows that start from weights in a file, references among them, and encoders as files for others."""
