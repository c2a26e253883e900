"""No pretraining: the encoder with its initial weights, as a baseline."""

from imssl.method import Method


class RandomInit(Method):
    """Leaves the encoder as it was initialised."""

    pretrains = False
