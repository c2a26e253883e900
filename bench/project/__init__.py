"""A project that uses an installed suite: the folder with params.yaml that ``bench init`` writes."""
