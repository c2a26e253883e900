"""The methods of params.yaml: how they are added, checked, listed, updated and removed."""
