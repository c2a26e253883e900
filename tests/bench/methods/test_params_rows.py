"""Rows of params.yaml entered and taken out, compared with the text by hand and with PyYAML's reading."""

import pytest
from ruamel.yaml import YAML

from bench.methods.params_rows import with_row, without_row
from bench.protocol.profile import profiles
from imssl.errors import UserError

TEXT = """\
# head
seeds:   [0,  1]     # two
methods:
  # the baseline
  random-init: {}
  moco:              # momentum contrast
    queue: 256       # keys
    temperature: 0.10
    # a last word on moco

  # about the next section

encoder: {name: "resnet18"}   # quoted
"""
SETTINGS = {"temperature": 0.1, "small": 5e-05, "grids": [1, 1, 4], "kind": "on", "none": None, "yes": True}


def read(text):
    return YAML(typ="safe").load(text)


def test_a_row_is_entered_after_the_last_one_and_nothing_else_moves():
    edited = with_row(TEXT, "mine", SETTINGS)
    before, after = TEXT.split("    # a last word on moco\n")
    assert edited.startswith(before + "    # a last word on moco\n  mine:\n    temperature: 0.1\n")
    assert edited.endswith(after)
    assert read(edited) == {**read(TEXT), "methods": {**read(TEXT)["methods"], "mine": SETTINGS}}
    assert "    grids: [1, 1, 4]\n" in edited


def test_a_row_without_settings_is_an_empty_mapping():
    assert "\n  mine: {}\n" in with_row(TEXT, "mine", {})


@pytest.mark.parametrize("row", ["random-init", "moco"])
def test_a_row_goes_and_comments_around_it_stay(row):
    edited = without_row(TEXT, row)
    expected = read(TEXT)
    del expected["methods"][row]
    assert read(edited) == expected
    for comment in ("# head", "# two", "# the baseline", "# about the next section", "# quoted"):
        assert comment in edited
    assert all(line in TEXT.splitlines() for line in edited.splitlines())


@pytest.mark.parametrize("profile", [profile.name for profile in profiles()])
def test_in_and_out_again_gives_the_same_bytes_for_every_profile(profile):
    text = next(each.text for each in profiles() if each.name == profile)
    edited = with_row(text, "mine", SETTINGS)
    assert edited != text
    assert without_row(edited, "mine") == text


def test_line_ends_of_windows_and_a_missing_last_one_are_kept():
    windows = TEXT.replace("\n", "\r\n")
    assert with_row(windows, "mine", SETTINGS) == with_row(TEXT, "mine", SETTINGS).replace("\n", "\r\n")
    assert with_row("methods:\n    moco: {}", "mine", {"a": 1}) == (
        "methods:\n    moco: {}\n    mine:\n      a: 1\n"
    )


@pytest.mark.parametrize("section", ["{moco: {}, mini: {}}", "{moco: {}}"])
def test_a_section_in_one_line_is_left_alone(section):
    with pytest.raises(UserError, match="one method below another"):
        with_row(f"methods: {section}\n", "mine", {})


def test_a_row_that_others_refer_to_is_not_taken_out():
    text = "methods:\n  moco: &base\n    queue: 1\n  cold:\n    <<: *base\n    temperature: 0.1\n"
    with pytest.raises(UserError, match="edit it by hand"):
        without_row(text, "moco")
