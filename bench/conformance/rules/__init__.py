"""The rules that every method must keep, a module per kind of rule."""
