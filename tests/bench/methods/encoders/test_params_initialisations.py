"""Files are entered into params.yaml; comments and everything else stay."""

import pytest
from ruamel.yaml import YAML

from bench.methods.encoders.params_initialisations import with_initialisation, without_initialisation
from imssl.errors import UserError

EMPTY = "seeds: [0]\n# what rows may start from\ninitialisations: {}\n\n# length\npretrain:\n  epochs: 2\n"
BLOCK = (
    "initialisations:\n  # from torchvision\n  imagenet: a.pth   # 1000 classes\n"
    "  theirs:\n    chest: b.pth\n\npretrain: {}\n"
)


def read(text):
    return YAML(typ="safe").load(text)["initialisations"]


def test_the_first_one_replaces_the_empty_section():
    edited = with_initialisation(EMPTY, "imagenet", "weights/a.pth")
    assert edited == EMPTY.replace("initialisations: {}", "initialisations:\n  imagenet: weights/a.pth")


def test_the_comment_on_the_line_of_an_empty_section_stays():
    text = EMPTY.replace("initialisations: {}", "initialisations: {}   # none yet")
    assert "initialisations:   # none yet\n  imagenet: a.pth\n" in with_initialisation(
        text, "imagenet", "a.pth"
    )


def test_a_further_one_comes_last_and_comments_stay():
    edited = with_initialisation(BLOCK, "other", {"fundus": "c.pth"})
    assert read(edited) == {"imagenet": "a.pth", "theirs": {"chest": "b.pth"}, "other": {"fundus": "c.pth"}}
    assert edited.startswith(BLOCK[: BLOCK.index("\n\npretrain")])
    assert edited.endswith("\n\npretrain: {}\n")


def test_a_file_for_one_more_data_set():
    edited = with_initialisation(BLOCK, "theirs", {"chest": "b.pth", "fundus": "c: d #.pth"})
    assert read(edited) == {"imagenet": "a.pth", "theirs": {"chest": "b.pth", "fundus": "c: d #.pth"}}
    assert "# from torchvision\n  imagenet: a.pth   # 1000 classes\n" in edited


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        (BLOCK, "imagenet", BLOCK.replace("  imagenet: a.pth   # 1000 classes\n", "")),
        (BLOCK, "theirs", BLOCK.replace("  theirs:\n    chest: b.pth\n", "")),
        (
            "initialisations: {a: b.pth}  # mine\nseeds: [0]\n",
            "a",
            "initialisations: {}  # mine\nseeds: [0]\n",
        ),
        ("initialisations:\n  a: b.pth\nseeds: [0]\n", "a", "initialisations: {}\nseeds: [0]\n"),
        (
            "initialisations: {a: b.pth,\n  c: d.pth}\nseeds: [0]\n",
            "a",
            "initialisations:\n  c: d.pth\nseeds: [0]\n",
        ),
    ],
)
def test_one_is_taken_out_and_all_else_stays(text, name, expected):
    assert without_initialisation(text, name) == expected


def test_what_cannot_be_edited_is_refused():
    with pytest.raises(UserError, match="edit it by hand"):
        with_initialisation("initialisations: &none {}\nother: *none\n", "b", "c.pth")
