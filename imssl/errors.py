"""The errors whose messages are meant for the person who runs the suite."""


class UserError(Exception):
    """Something the user can mend: the message says what is wrong, where, and how to mend it."""


class Diverged(Exception):
    """The loss of a training run became infinite or NaN: its cell has failed, other cells can still run."""
