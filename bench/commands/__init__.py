"""The verbs of the command ``bench``, a module per topic; bench.cli registers them."""
