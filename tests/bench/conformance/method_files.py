"""Method files as text: a sound one, to which one thing is added."""

HEAD = """
import torch
from torch import nn
from imssl.heads import linear_head
from imssl.losses import barlow_twins
from imssl.method import Method, MethodSettings
"""
SOUND = """
class Mine(Method):
    def __init__(self, encoder, settings, training_set):
        super().__init__(encoder, settings, training_set)
        self.head = linear_head(encoder.width, 16)
        {init}

    def losses(self, batch):
        {losses}
        first, second = (self.head(self.encoder(view).embedding) for view in batch.views)
        loss = barlow_twins(first, second, 1.0, 0.005)
        return {result}

    {more}
"""


def method(head="", init="", losses="", result='{"loss_term": loss}', more=""):
    """A sound method file with one thing in it that is not; lines after the first are indented as given."""
    return HEAD + head + SOUND.format(init=init, losses=losses, result=result, more=more)
