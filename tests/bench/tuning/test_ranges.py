"""Ranges: what the methods declare, read off their settings, and what comes back as a row of params.yaml."""

import pytest

from bench.protocol.registry import load_method
from bench.tuning.ranges import ranges_of, row_changes
from imssl.errors import UserError


def ranges(protocol, method):
    return {searched.name: searched for searched in ranges_of(load_method(method, protocol))}


def test_a_methods_own_ranges_and_the_optimisers_are_searched(edited):
    protocol = edited("  moco:\n    hidden", "  moco:\n    momentum: 0.95\n    hidden")
    found = ranges(protocol, "moco")
    assert list(found) == [
        "momentum",
        "temperature",
        "optimisation.learning_rate",
        "optimisation.weight_decay",
    ]
    assert (found["momentum"].current, found["temperature"].current) == (0.95, 0.2)
    assert found["optimisation.learning_rate"].current == 0.03
    assert found["temperature"].tuned.log
    assert {"off_diagonal", "scale", "momentum"} <= ranges(protocol, "moco-barlow").keys()


def test_values_of_the_methods_own_row_are_the_present_ones(edited):
    protocol = edited("  moco:\n    hidden", "  moco:\n    optimisation: {learning_rate: 0.2}\n    hidden")
    found = ranges(protocol, "moco")
    assert found["optimisation.learning_rate"].current == 0.2
    assert found["optimisation.weight_decay"].current == 0.0001
    assert ranges(protocol, "moco-barlow")["optimisation.learning_rate"].current == 0.03


def test_a_weight_per_block_is_one_value(edited):
    protocol = edited("  random-init: {}\n", "  random-init: {}\n  moco-mse: {queue: 32}\n")
    weights = ranges(protocol, "moco-mse")["block_weights"]
    assert (weights.current, weights.elements) == (0.25, 4)
    chosen = {name: searched.current for name, searched in ranges(protocol, "moco-mse").items()}
    changes = row_changes(chosen | {"block_weights": 0.7}, list(ranges(protocol, "moco-mse").values()), {})
    assert changes["block_weights"] == [0.7] * 4
    assert changes["optimisation"] == {"learning_rate": 0.03, "weight_decay": 0.0001}


def test_other_values_of_the_optimiser_in_the_row_are_kept(edited):
    protocol = edited(
        "  moco:\n    hidden", "  moco:\n    optimisation: {momentum: 0.8, learning_rate: 0.2}\n    hidden"
    )
    chosen = dict.fromkeys(ranges(protocol, "moco"), 0.01)
    changes = row_changes(chosen, list(ranges(protocol, "moco").values()), protocol.methods["moco"])
    assert changes["optimisation"] == {"momentum": 0.8, "learning_rate": 0.01, "weight_decay": 0.01}


def test_what_cannot_be_searched_is_refused(edited):
    protocol = edited(
        "  random-init: {}\n", "  random-init: {}\n  moco-mse: {block_weights: [0.1, 0.2, 0.3, 0.4]}\n"
    )
    with pytest.raises(UserError, match="random-init does not pretrain"):
        ranges(protocol, "random-init")
    with pytest.raises(UserError, match=r"methods\.moco-mse\.block_weights is \[0\.1"):
        ranges(protocol, "moco-mse")


def test_every_method_file_declares_ranges_that_it_accepts(edited):
    """The ends of each range are values that the settings allow."""
    rows = "".join(
        f"  {name}: {{}}\n"
        for name in ("moco-mse", "simclr", "byol", "simsiam", "vicreg", "masked-reconstruction")
    )
    protocol = edited("  random-init: {}\n", "  random-init: {}\n" + rows)
    for method in protocol.methods:
        if method == "random-init":
            continue
        found = ranges(protocol, method)
        assert found
        for end in ("low", "high"):
            values = {name: getattr(searched.tuned, end) for name, searched in found.items()}
            row = protocol.methods[method] | row_changes(values, list(found.values()), {})
            changed = protocol.model_copy(update={"methods": protocol.methods | {method: row}})
            load_method(method, changed)
    # Its optimiser is its own.
    assert "optimisation.learning_rate" not in ranges(protocol, "masked-reconstruction")
    assert "learning_rate" in ranges(protocol, "masked-reconstruction")
