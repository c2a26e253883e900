"""The baseline trains nothing."""

import pytest

from imssl.methods.random_init import RandomInit


def test_it_holds_the_encoder_and_nothing_else(make_method):
    method = make_method(RandomInit)
    assert not method.pretrains
    assert all(name.startswith("encoder.") for name in method.state_dict())


def test_it_has_no_loss(make_method, make_batch):
    with pytest.raises(TypeError, match="RandomInit does not define losses"):
        make_method(RandomInit).losses(make_batch())
