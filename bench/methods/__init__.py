"""The rows of params.yaml that are methods: entered, checked, listed, replaced and removed."""
