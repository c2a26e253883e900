"""The verbs of ``bench``, one module per topic; bench.cli registers them."""
