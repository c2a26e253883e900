"""No pretraining: the encoder with its initial weights and its batch norm as initialised."""

from imssl.method import Method


class RandomInit(Method):
    """Leaves the encoder as it was initialised.

    Batch norm keeps mean 0 and variance 1, so that frozen features and probes also show what that does: on
    some data it makes them better than those of :mod:`imssl.methods.random_init_filled`. Pretraining helps
    where it beats the stronger of the two.
    """

    pretrains = False
    is_reference = True
    from_scratch = True
