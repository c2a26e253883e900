"""How a study lies on disk: its files, its chains, their rounded predictions; and all of it as results."""
