"""The report: results read once, summarised by bench.summary.over_seeds, drawn by charts and templates."""
