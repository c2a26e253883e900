"""The ledger: what is equal, what differs from whom, and that every key of the references exists."""

from pathlib import Path

import pytest

import bench
from bench.analysis.reproduction.ledger import LedgerRow, differs, ledger_table
from bench.protocol.protocol import read_protocol
from imssl.settings.pretraining import PretrainLength

PROFILES = Path(bench.__file__).parent / "protocol" / "profiles"


@pytest.mark.parametrize(
    ("reference", "here", "expected"),
    [
        (None, 3, None),
        (0.07, 0.07, False),
        (0.07, 0.1, True),
        (65536, 65536.0, False),
        ({"from": 8, "to": 32}, 32, False),
        ({"from": 8, "to": 32}, 33, True),
        ({"any_of": ["nih", "idc"]}, "idc", False),
        ({"any_of": ["nih", "idc"]}, "phantom", True),
        ({"any_of": [[1.0, 1.0], [0.4, 1.0]]}, (0.4, 1.0), False),
        ({"any_of": [[1.0, 1.0], [0.4, 1.0]]}, (0.4, 0.9), True),
        ({"any_of": [16, 32], "text": "16 or 32"}, 32, False),
        ({"text": "the last epoch"}, "the last epoch", True),
        ([1.0, 1.0], (1, 1), False),
        ([1.0, 1.0], [0.6, 1.0], True),
        ([1.0, 1.0], [1.0], True),
        (False, False, False),
        (False, True, True),
        ("linear", "mlp", True),
    ],
)
def test_differs(reference, here, expected):
    assert differs(reference, here) is expected


@pytest.fixture
def paper(tmp_path):
    """The profile `paper`, with folders filled in."""
    text = (PROFILES / "paper.yaml").read_text()
    for name in ("nih", "idc_split", "idc", "eyepacs"):
        text = text.replace(f"{{{name}}}", name)
    (tmp_path / "params.yaml").write_text(text)
    return read_protocol(tmp_path / "params.yaml")


def test_the_profile_paper_departs_where_it_says_so(paper):
    table = ledger_table(paper, {})
    assert list(table.columns) == LedgerRow.columns()
    rows = table.set_index(["about", "aspect"])["differs"]
    for aspect in (
        "architecture", "stem", "channels of block 1", "fine-tuning, epochs", "pretraining, schedule",
        "pretraining, learning rate of SGD", "fine-tuning, batch", "smallest share of the labels",
    ):  # fmt: skip
        assert rows["run", aspect] is False, aspect
    for aspect in (
        "precision", "seeds", "pretraining, batch", "label subsets", "normalisation of the input",
        "CKA, bandwidth of the RBF kernel", "CKA, test images",
        "validation labels with a share of the labels",
        "pretraining, batch norm filled from all training images at the end",
    ):  # fmt: skip
        assert rows["run", aspect] is True, aspect
    assert rows["moco", "temperature"] is rows["moco", "keys in the queue"] is False
    assert rows["moco-barlow", "scale of both terms"] is rows["nih", "source"] is False
    assert rows["moco", "parts of the batch normalised apart"] is True
    assert rows["eyepacs", "grading of EyePACS"] is False
    assert ("nih", "grading of EyePACS") not in rows.index
    heads = table[table["aspect"] == "head"]
    # The paper says MoCo v2, the code has a linear head: a run departs from one of them in any case.
    assert set(heads["differs_from"]) == {"paper"}


def test_batch_norm_that_is_not_filled_is_no_departure(paper):
    pretrain = paper.pretrain.model_copy(update={"fill_batch_norm": False})
    changed = paper.model_copy(update={"pretrain": pretrain, "validation_labels": "all"})
    rows = ledger_table(changed, {}).set_index(["about", "aspect"])
    aspect = "pretraining, batch norm filled from all training images at the end"
    assert rows.loc[("run", aspect), "differs"] is False
    chosen_by = rows.loc[("run", "validation labels with a share of the labels"), "here"]
    assert chosen_by == "choose epoch and strength: all"


# What the released code does on each data set, from its scripts, beside what the profile `paper` does.
RELEASED = {
    ("pretraining", "crop as share of the area"): ("1, 1", "0.4, 1", "1, 1"),
    ("pretraining", "rotation in degrees"): ("30", "0", "30"),
    ("pretraining", "horizontal flip"): ("0", "0.5", "0.5"),
    ("pretraining", "vertical flip"): ("0", "0", "0"),
    ("pretraining", "jitter of brightness"): ("0.4", "0.4", "0.4"),
    ("pretraining", "share blurred"): ("0.5", "0.5", "0.5"),
    ("pretraining", "rotation and flips among the operations"): ("last", "last", "last"),
    ("fine-tuning", "crop as share of the area"): ("1, 1", "0.2, 1", "1, 1"),
    ("fine-tuning", "rotation in degrees"): ("30", "30", "0"),
    ("fine-tuning", "horizontal flip"): ("0", "0.5", "0.5"),
    ("fine-tuning", "vertical flip"): ("0", "0", "0.5"),
    ("fine-tuning", "share with colour jitter"): ("0.8", "0.8", "0.8"),
    ("fine-tuning", "jitter of brightness"): ("0.4", "0.4", "0"),
    ("fine-tuning", "jitter of contrast"): ("0.4", "0.4", "0.4"),
    ("fine-tuning", "jitter of saturation"): ("0.4", "0.4", "0"),
    ("fine-tuning", "jitter of hue"): ("0.1", "0.1", "0.1"),
    ("fine-tuning", "share turned to grey"): ("0.2", "0.2", "0"),
    ("fine-tuning", "share blurred"): ("0.5", "0.5", "0"),
}


@pytest.mark.parametrize(("dataset", "column"), [("nih", 0), ("idc", 1), ("eyepacs", 2)])
def test_the_profile_paper_augments_each_data_set_as_the_released_code_does(paper, dataset, column):
    rows = ledger_table(paper, {}).set_index(["about", "aspect"])
    for (phase, aspect), expected in RELEASED.items():
        row = rows.loc[dataset, f"{phase}, {aspect}"]
        assert row["released"] == row["here"] == expected[column], (phase, aspect)
        assert row["differs"] is False
    assert rows.loc[(dataset, "image side in pixels"), "released"] == ("512", "255", "299")[column]
    assert rows.loc[(dataset, "image side in pixels"), "here"] == ("512", "255", "299")[column]


def test_a_value_of_one_data_set_has_a_row_of_its_own(paper):
    rows = ledger_table(paper, {}).set_index(["about", "aspect"])
    grids = {dataset: rows.loc["moco-mse", f"grid of each block, on {dataset}"] for dataset in paper.datasets}
    assert [grids[name]["here"] for name in ("nih", "idc", "eyepacs")] == [
        "16, 16, 4, 4", "1, 1, 1, 1", "16, 16, 4, 4",
    ]  # fmt: skip
    assert [row["differs"] for row in grids.values()] == [False] * 3
    assert ("moco", "keys in the queue, on idc") not in rows.index
    idc = paper.datasets["idc"].model_copy(update={"methods": {"moco": {"queue": 1024}}})
    changed = paper.model_copy(update={"datasets": paper.datasets | {"idc": idc}})
    rows = ledger_table(changed, {}).set_index(["about", "aspect"])
    assert rows.loc[("moco", "keys in the queue, on idc"), "here"] == "1024"
    assert rows.loc[("moco", "keys in the queue, on idc"), "differs"] is True
    assert rows.loc[("moco", "keys in the queue"), "differs"] is False
    # Pooled as for the other data sets, IDC departs from the code.
    assert rows.loc[("moco-mse", "grid of each block, on idc"), "differs"] is True


def test_a_methods_own_optimiser_has_rows_of_its_own(paper):
    row = paper.methods["moco"] | {"optimisation": {"learning_rate": 0.1, "weight_decay": 0.0001}}
    changed = paper.model_copy(update={"methods": paper.methods | {"moco": row}})
    rows = ledger_table(changed, {}).set_index(["about", "aspect"])
    assert rows.loc[("moco", "pretraining, learning rate of SGD"), "here"] == "0.1"
    assert rows.loc[("moco", "pretraining, learning rate of SGD"), "differs"] is True
    assert rows.loc[("moco", "pretraining, weight decay"), "differs"] is False
    assert rows.loc[("run", "pretraining, learning rate of SGD"), "differs"] is False
    assert ("moco-mse", "pretraining, learning rate of SGD") not in rows.index


def test_the_length_of_pretraining_is_that_of_the_data_set(paper):
    nih = paper.datasets["nih"].model_copy(update={"pretrain": PretrainLength(steps=5000)})
    changed = paper.model_copy(update={"datasets": paper.datasets | {"nih": nih}})
    here = ledger_table(changed, {}).set_index(["about", "aspect"])["here"]
    assert here["nih", "pretraining, length"] == "5,000 steps"
    assert here["idc", "pretraining, length"] == "200 epochs"


def test_the_demo_differs_in_its_data_and_its_size(protocol_of, results_of):
    protocol = protocol_of(methods=["random-init", "moco", "moco-mse"])
    cards = results_of(protocol, lambda *_: 1).cards
    del cards["two"]
    table = ledger_table(protocol, cards)
    rows = table.set_index(["about", "aspect"])
    assert rows.loc[("one", "source"), ["paper", "here", "differs_from"]].tolist() == [
        "one of nih, idc, eyepacs", "phantom", "both",
    ]  # fmt: skip
    assert rows.loc[("one", "training images"), "here"] == "1000"
    assert ("two", "training images") not in rows.index
    assert rows.loc[("run", "architecture"), "differs_from"] == "both"
    assert rows.loc[("run", "intervals"), "here"] == "bootstrap over patients, 100 resamples, level 0.95"
    # Data that the paper does not have are compared with all that it has.
    crop = rows.loc[("one", "pretraining, crop as share of the area")]
    assert crop["released"] == "one of (1, 1), (0.4, 1)"
    assert crop["differs"] is True
    # Defaults are in the ledger as well as what is written; a method that is not the paper's is not.
    assert rows.loc[("moco-mse", "width of a key"), "here"] == "64"
    assert "random-init" not in set(table["about"])


def test_every_key_of_the_references_exists(paper, results_of, protocol_of):
    """A renamed setting would silently drop its row."""
    cards = results_of(protocol_of(["nih", "idc", "eyepacs"]), lambda *_: 1).cards
    counts = ledger_table(paper, cards).groupby("about")["aspect"].count().to_dict()
    aspects = {"run": 31, "moco": 6, "moco-mse": 10, "moco-barlow": 10, "nih": 39, "idc": 39, "eyepacs": 40}
    assert counts == aspects
