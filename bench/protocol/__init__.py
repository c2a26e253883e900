"""The protocol: params.yaml read, typed and checked, the methods it names, and the profiles that write it."""
