"""What leaves the project: tables for a paper, charts as files, and an archive of a whole run."""
