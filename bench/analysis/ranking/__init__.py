"""Who stands where in a column of the leaderboard, and who cannot be told from the best."""
