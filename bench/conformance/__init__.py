"""Does a method file keep the contract? Checks that make a comparison fair, run in a process of their own.

They are about fairness, not about safety: a method file is code that runs with its user's rights.
"""
