"""Whether a method file keeps the contract: the rules of a fair comparison, and the process they run in.

The rules are about fairness, not about safety: a method file is code that runs with its user's rights.
"""
