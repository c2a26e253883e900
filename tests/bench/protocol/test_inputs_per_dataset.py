"""What each stage depends on where a data set has values of its own."""

import pytest

from bench.protocol.stage_specs import STAGES

CHEST = "    horizontal_flip: true\n    vertical_flip: false\n"
STAGES_THAT_CHANGE = {
    "pretrain: {steps: 3}": {"pretrain"},
    "augmentation: {hue: 0.3}": {"pretrain"},
    "finetune_augmentation: {hue: 0.3}": {"finetune"},
    # Told with the method, not with the data set.
    "methods: {moco: {queue: 16}}": set(),
}


@pytest.mark.parametrize("written", STAGES_THAT_CHANGE)
def test_how_a_data_set_is_trained_on_is_no_reason_to_prepare_it_again(edited, written):
    common = edited("profile: tiny", "profile: same")
    protocol = edited(CHEST, f"{CHEST}    {written}\n")

    def changed(dataset):
        return {
            name
            for name, spec in STAGES.items()
            if spec.settings(common, dataset) != spec.settings(protocol, dataset)
        }

    assert changed("chest") == STAGES_THAT_CHANGE[written]
    assert changed("fundus") == set()


def test_what_is_prepared_is_a_reason(edited):
    common, protocol = (
        edited("profile: tiny", "profile: same"),
        edited("patients: 30\n    seed: 1", "patients: 31\n    seed: 1"),
    )
    assert STAGES["data"].settings(common, "chest") != STAGES["data"].settings(protocol, "chest")
