"""The self-supervised methods: one file each, named after the method's id in params.yaml."""
