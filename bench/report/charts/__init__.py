"""The charts of the pages, and the tables that `dvc plots` draws."""
