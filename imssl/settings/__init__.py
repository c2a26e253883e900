"""The typed settings of params.yaml, one file per section; none of them needs torch."""
