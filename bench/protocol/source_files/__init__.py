"""The suite's own source files: as they were when this process began, and parsed."""
