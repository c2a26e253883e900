"""How long a run will take, before it begins and while it runs."""
