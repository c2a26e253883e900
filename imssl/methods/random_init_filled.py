"""No pretraining: the initial encoder, its batch norm filled with the statistics of the training images."""

from imssl.method import Method


class RandomInitFilled(Method):
    """Leaves the weights as they were initialised, and fills batch norm as for the pretrained encoders.

    What differs between this row and a pretrained one is the weights alone.
    """

    pretrains = False
    is_reference = True
    from_scratch = True
    fills_batch_norm = True
