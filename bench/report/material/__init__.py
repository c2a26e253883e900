"""What charts, tables and pages are made from: counts, distributions, diagrams, images, words."""
