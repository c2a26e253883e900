"""Lengths of pretraining, and shares of them."""

import pytest

from imssl.settings.pretraining import PretrainLength


@pytest.mark.parametrize(
    ("length", "share", "shortened"),
    [
        ({"epochs": 40}, 0.2, {"epochs": 8}),
        ({"epochs": 125}, 1.0, {"epochs": 125}),
        ({"epochs": 2}, 0.1, {"epochs": 1}),
        ({"steps": 1000}, 0.25, {"steps": 250}),
        ({"steps": 3}, 0.01, {"steps": 1}),
    ],
)
def test_a_share_of_a_length(length, share, shortened):
    assert PretrainLength(**length).shortened(share) == PretrainLength(**shortened)
