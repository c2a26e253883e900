"""Values of one data set: what they replace, what they leave, and what is refused."""

import json

import pytest

from bench.cells.method_facts import method_facts
from bench.protocol.protocol import protocol_of, values
from bench.protocol.registry import different_settings, load_method
from imssl.errors import UserError

CHEST = "    horizontal_flip: true\n    vertical_flip: false\n"


@pytest.fixture
def chest_with(edited):
    """The protocol with lines of its own for the data set `chest`."""
    return lambda lines: edited(CHEST, CHEST + lines)


@pytest.mark.parametrize(
    ("length", "epochs", "steps", "words"),
    [("{epochs: 7}", 7, None, "7 epochs"), ("{steps: 1000}", None, 1000, "1,000 steps")],
)
def test_a_data_set_may_have_a_length_of_its_own(chest_with, length, epochs, steps, words):
    protocol = chest_with(f"    pretrain: {length}\n")
    own, common = protocol.pretrain_of("chest"), protocol.pretrain_of("fundus")
    assert (own.epochs, own.steps, own.words) == (epochs, steps, words)
    assert common == protocol.pretrain
    assert common.words == "2 epochs"
    # All but the length is as for the other data sets.
    assert own.for_length(common) == common
    assert own.steps_on(50) == (21 if epochs else 1000)  # 3 batches of 16 a pass


def test_all_data_sets_may_be_trained_for_so_many_steps(edited):
    protocol = edited("pretrain:\n  epochs: 2\n", "pretrain:\n  steps: 40\n")
    assert {protocol.pretrain_of(dataset).steps_on(500) for dataset in protocol.datasets} == {40}


def test_only_written_values_of_an_augmentation_differ(chest_with):
    # 0.4 is the default of contrast, but not what the section says below; hue is what all data sets have.
    protocol = chest_with(
        "    augmentation: {crop_scale: [0.5, 0.9], rotation_degrees: 12.0}\n"
        "    finetune_augmentation:\n      contrast: 0.4\n"
    )
    protocol = protocol.model_copy(
        update={
            "augmentation": protocol.augmentation.model_copy(update={"hue": 0.05}),
            "finetune_augmentation": protocol.finetune_augmentation.model_copy(
                update={"contrast": 0.9, "brightness": 0.8}
            ),
        }
    )
    views, common = protocol.augmentation_of("chest"), protocol.augmentation_of("fundus")
    assert (views.crop_scale, views.rotation_degrees, views.hue) == ((0.5, 0.9), 12.0, 0.05)
    assert (common.crop_scale, common.rotation_degrees, common.hue) == ((0.2, 1.0), 0.0, 0.05)
    finetuned = protocol.finetune_augmentation_of("chest")
    assert (finetuned.contrast, finetuned.brightness) == (0.4, 0.8)
    assert protocol.finetune_augmentation_of("fundus").contrast == 0.9


def test_a_data_set_that_forbids_a_flip_has_none(chest_with):
    protocol = chest_with("    augmentation: {vertical_flip: 0.0, horizontal_flip: 0.25}\n")
    views = protocol.augmentation_of("chest")
    assert (views.vertical_flip, views.horizontal_flip) == (0.0, 0.25)


def test_a_method_may_have_other_hyperparameters_on_a_data_set(chest_with):
    protocol = chest_with("    methods:\n      moco: {queue: 16}\n")
    assert load_method("moco", protocol, "chest").settings.queue == 16
    assert load_method("moco", protocol, "fundus").settings.queue == 32
    assert load_method("moco", protocol).settings.queue == 32
    # What is written for all data sets is kept beside it.
    assert load_method("moco", protocol, "chest").settings.hidden == 16
    assert load_method("moco-barlow", protocol, "chest").settings.queue == 32
    assert different_settings("moco", protocol) == {"chest": {"queue": 16}}
    assert different_settings("moco-barlow", protocol) == {}


def test_what_is_not_written_is_not_in_the_values(chest_with):
    protocol = chest_with("    augmentation: {hue: 0.3}\n")
    chest = values(protocol)["datasets"]["chest"]
    assert chest["augmentation"] == {"hue": 0.3}
    assert not {"pretrain", "finetune_augmentation", "methods"} & chest.keys()
    again = protocol_of(json.dumps(values(protocol)))
    assert again == protocol
    assert again.augmentation_of("chest") == protocol.augmentation_of("chest")


REFUSED = {
    "an unknown key of a length": ("pretrain: {epoch: 3}", ["chest.pretrain.epoch", "not a known key"]),
    "no length": ("pretrain: {}", ["datasets.chest.pretrain", "epochs or steps"]),
    "two lengths": ("pretrain: {epochs: 3, steps: 9}", ["chest.pretrain.steps", "one of the two"]),
    "no steps": ("pretrain: {steps: 0}", ["datasets.chest.pretrain.steps", "is 0", "greater than"]),
    "another batch": ("pretrain: {epochs: 1, batch_size: 8}", ["pretrain.batch_size", "not a known key"]),
    "an unknown strength": ("augmentation: {hues: 0.1}", ["chest.augmentation.hues", "not a known key"]),
    "a range upside down": (
        "finetune_augmentation: {crop_scale: [0.9, 0.3]}",
        ["chest.finetune_augmentation.crop_scale", "smaller"],
    ),
    "an empty strength": ("augmentation: {hue: null}", ["datasets.chest.augmentation.hue", "null"]),
    "a flip that is not allowed": (
        "augmentation: {vertical_flip: 0.5}",
        ["datasets.chest.augmentation.vertical_flip", "would do nothing"],
    ),
    "an unknown method": ("methods: {dino: {}}", ["datasets.chest.methods.dino", "moco-barlow"]),
    "another file": ("methods: {moco: {file: simclr.py}}", ["datasets.chest.methods.moco.file", "every"]),
    "another optimiser": (
        "methods: {moco: {optimisation: {learning_rate: 0.1}}}",
        ["datasets.chest.methods.moco.optimisation", "every"],
    ),
    "a list of methods": ("methods: [moco]", ["datasets.chest.methods", "mapping"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_value_of_a_data_set_is_named_with_its_line(chest_with, tiny, name):
    written, words = REFUSED[name]
    line = tiny[: tiny.index(CHEST)].count("\n") + 3
    with pytest.raises(UserError) as error:
        chest_with(f"    {written}\n")
    assert f"params.yaml, line {line}: " in str(error.value)
    assert [word for word in words if word not in str(error.value)] == []


def test_a_wrong_hyperparameter_on_a_data_set_is_named_where_it_stands(chest_with, tiny):
    protocol = chest_with("    methods:\n      moco:\n        queue: 16\n        temperatur: 0.1\n")
    line = tiny[: tiny.index(CHEST)].count("\n") + 6
    with pytest.raises(UserError) as error:
        method_facts(protocol)
    assert f"params.yaml, line {line}: datasets.chest.methods.moco.temperatur is not" in str(error.value)
    load_method("moco", protocol, "fundus")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", r"line \d+: pretrain has no length; give epochs or steps"),
        ("  epochs: 2\n  steps: 9\n", r"line \d+: pretrain\.steps stands beside epochs"),
    ],
)
def test_no_length_or_two_are_refused_for_all_data_sets(edited, lines, message):
    with pytest.raises(UserError, match=message):
        edited("pretrain:\n  epochs: 2\n", f"pretrain:\n{lines}")
