"""No pretraining: the initial encoder itself, the baseline that every table needs."""

from imssl.method import Method


class RandomInit(Method):
    """Leaves the encoder as it was initialised."""

    pretrains = False
