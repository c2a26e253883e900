"""The errors that are meant to be read by the person who runs the suite."""


class UserError(Exception):
    """Something the user can mend: the message says what is wrong, where, and how to mend it."""


class Diverged(Exception):
    """Training met a loss that is not finite; the cell has failed, other cells can still run."""
