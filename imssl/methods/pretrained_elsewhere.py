"""An encoder that was pretrained elsewhere, evaluated under this protocol."""

from imssl.method import Method


class PretrainedElsewhere(Method):
    """Leaves the encoder as its file has it: data, length and augmentation of its pretraining are unknown.

    Its batch norm gets the statistics of the training images where that of the pretrained rows does. The row
    names its file by ``initialisation``.
    """

    pretrains = False
    pretrained_elsewhere = True
