"""What the leaderboard says first: the answer, its data, what its words mean, what filters change."""
