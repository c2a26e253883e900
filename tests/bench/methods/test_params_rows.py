"""Rows of params.yaml entered and taken out, compared with the text by hand and with PyYAML's reading."""

import os
from functools import partial
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from bench.methods.changes import remove
from bench.methods.encoders.initialisations import add_encoder
from bench.methods.params_rows import params, with_row, with_values, without_row, write_params
from bench.protocol.params_file import PARAMS
from bench.protocol.profile import profiles
from bench.protocol.protocol import read_protocol
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


def test_values_change_on_their_lines_and_comments_stay():
    changes = {
        "temperature": 0.07,
        "queue": 64,
        "weights": [0.5, 0.5],
        "optimisation": {"rate": 0.1, "decay": 0.0},
    }
    edited = with_values(TEXT, "moco", changes)
    assert read(edited) == {**read(TEXT), "methods": {"random-init": {}, "moco": changes}}
    assert "    queue: 64       # keys\n" in edited
    assert "    optimisation: {rate: 0.1, decay: 0.0}\n" in edited
    kept = [line for line in TEXT.splitlines() if "queue" not in line and "temperature" not in line]
    assert [line for line in edited.splitlines() if line in kept] == kept


def test_values_enter_a_row_on_one_line():
    edited = with_values(
        TEXT.replace("random-init: {}", "cold: {queue: 8}  # colder"), "cold", {"temperature": 0.1}
    )
    assert "  cold:  # colder\n    queue: 8\n    temperature: 0.1\n" in edited
    assert "\n  random-init:\n    temperature: 0.1\n" in with_values(
        TEXT, "random-init", {"temperature": 0.1}
    )


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_values_at_the_end_of_a_file_without_a_last_line_end(newline):
    text = "methods:\n  moco:\n    queue: 4".replace("\n", newline)
    edited = with_values(text, "moco", {"queue": 5, "temperature": 0.1})
    assert edited.split(newline)[2:] == ["    queue: 5", "    temperature: 0.1", ""]


def test_a_row_that_cannot_be_edited_is_refused():
    with pytest.raises(UserError, match="edit it by hand"):
        with_values("methods:\n  moco: &m\n    queue: 1\n  other: *m\n", "moco", {"queue": [2, 2]})


@pytest.mark.parametrize("profile", [profile.name for profile in profiles()])
def test_the_values_of_a_profile_written_again_are_the_same(profile):
    text = next(each.text for each in profiles() if each.name == profile)
    for name, row in read(text)["methods"].items():
        assert read(with_values(text, name, row)) == read(text)


def test_a_list_of_an_entry_a_line_is_replaced_as_a_whole():
    """As DVC writes lists, and the profiles with it."""
    head, end = "methods:\n  moco:\n", "\nencoder: {}\n"
    rows = "    weights:  # of the blocks\n    - 1\n    - 2\n    queue: 8\n    grids:\n    - 3\n"
    changes = {"grids": [5], "queue": 9, "weights": [4, 4], "extra": True}
    changed = "    weights: [4, 4]  # of the blocks\n    queue: 9\n    grids: [5]\n    extra: true\n"
    assert with_values(head + rows + end, "moco", changes) == head + changed + end


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_params_that_cannot_be_edited_are_one_message_and_as_they_were(project):
    text, protocol = params()
    assert (text, protocol) == (PARAMS.read_text(encoding="utf-8"), read_protocol())
    with pytest.raises(UserError, match="seeds"):
        write_params(text.replace("seeds: [0]", "seeds: []"))
    assert PARAMS.read_text(encoding="utf-8") == text
    PARAMS.write_bytes(text.encode() + "# señal\n".encode("latin-1"))
    encoder = partial(add_encoder, Path("weights.pt"), "mine", None)
    for edit in (params, encoder, partial(remove, "moco", delete_file=False)):
        with pytest.raises(UserError, match=r"params.yaml, line \d+: not UTF-8 text"):
            edit()
    PARAMS.unlink()
    with pytest.raises(UserError, match=r"params.yaml not found. Run this in the project's folder"):
        params()
    os.mkfifo(PARAMS)
    with pytest.raises(UserError, match="is a named pipe, not a file"):
        params()
