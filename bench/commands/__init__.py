"""The verbs of ``bench`` by topic; bench.cli registers them."""
