"""The weights that rows start from, as they were given: what pretraining here must improve on."""

from imssl.method import Method


class Imagenet(Method):
    """Leaves the encoder as its file has it, ImageNet's or another; a reference beside the rows.

    Its batch norm gets the statistics of the training images where that of the pretrained rows does, so that
    only the weights differ. The row names its file by ``initialisation``, or starts from ``encoder.weights``.
    """

    pretrains = False
    is_reference = True
    pretrained_elsewhere = True
