"""The ledger: what is equal, what differs from whom, and that every key of the references exists."""

from pathlib import Path

import pytest

import bench
from bench.analysis.reproduction.ledger import LedgerRow, differs, ledger_table
from bench.protocol.protocol import read_protocol

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
        "pretraining, crop as share of the area", "pretraining, learning rate of SGD", "fine-tuning, batch",
        "smallest share of the labels", "pretraining, share blurred",
    ):  # fmt: skip
        assert rows["run", aspect] is False, aspect
    for aspect in ("precision", "seeds", "pretraining, batch", "pretraining, epochs", "label subsets"):
        assert rows["run", aspect] is True, aspect
    assert rows["moco", "temperature"] is rows["moco", "keys in the queue"] is False
    assert rows["moco-barlow", "scale of both terms"] is rows["nih", "source"] is False
    assert rows["moco", "parts of the batch normalised apart"] is True
    assert rows["idc", "image side in pixels"] is True
    assert rows["nih", "image side in pixels"] is rows["eyepacs", "grading of EyePACS"] is False
    assert ("nih", "grading of EyePACS") not in rows.index
    assert rows["run", "CKA, test images"] is None
    heads = table[table["aspect"] == "head"]
    # The paper says MoCo v2, the code has a linear head: a run departs from one of them in any case.
    assert set(heads["differs_from"]) == {"paper"}


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
    # Defaults are in the ledger as well as what is written; a method that is not the paper's is not.
    assert rows.loc[("moco-mse", "width of a key"), "here"] == "64"
    assert "random-init" not in set(table["about"])


def test_every_key_of_the_references_exists(paper, results_of, protocol_of):
    """A renamed setting would silently drop its row."""
    cards = results_of(protocol_of(["nih", "idc", "eyepacs"]), lambda *_: 1).cards
    counts = ledger_table(paper, cards).groupby("about")["aspect"].count().to_dict()
    aspects = {"run": 42, "moco": 6, "moco-mse": 8, "moco-barlow": 10, "nih": 8, "idc": 8, "eyepacs": 9}
    assert counts == aspects
