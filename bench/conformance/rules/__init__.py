"""What is expected of every method, a module per kind of rule."""
