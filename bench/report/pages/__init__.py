"""What each page of the report holds."""
