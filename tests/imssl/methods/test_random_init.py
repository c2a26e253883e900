"""The untrained rows train nothing."""

import pytest

from imssl.methods.random_init import RandomInit
from imssl.methods.random_init_filled import RandomInitFilled

UNTRAINED = [RandomInit, RandomInitFilled]


@pytest.mark.parametrize("method_class", UNTRAINED)
def test_it_holds_the_encoder_and_nothing_else(make_method, method_class):
    method = make_method(method_class)
    assert not method.pretrains
    assert method.is_reference
    assert all(name.startswith("encoder.") for name in method.state_dict())


@pytest.mark.parametrize("method_class", UNTRAINED)
def test_it_has_no_loss(make_method, make_batch, method_class):
    with pytest.raises(TypeError, match=f"{method_class.__name__} does not define losses"):
        make_method(method_class).losses(make_batch())


def test_they_differ_by_the_state_of_batch_norm():
    assert [method.fills_batch_norm for method in UNTRAINED] == [False, True]
