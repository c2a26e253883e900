"""The report: results read once, summarised by bench.statistics, drawn by charts and templates."""
