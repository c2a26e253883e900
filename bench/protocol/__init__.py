"""What is asked for: params.yaml, typed and checked, its methods and its profiles."""
