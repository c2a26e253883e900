"""Whatever stands in params.yaml, reading it gives a protocol or one message; profiles are read back."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.protocol.params_file import read_params
from bench.protocol.profile import use_profile
from bench.protocol.protocol import Protocol, read_protocol
from imssl.errors import UNPRINTABLE, UserError

TINY = (Path(__file__).parents[1] / "tiny.yaml").read_text(encoding="utf-8")
SECTIONS = [line.partition(":")[0] for line in TINY.splitlines() if line[:1].isalpha()]
# What YAML gives meaning to, so that random text is often nearly YAML.
YAML_LIKE = st.text(alphabet="ab01.:-?[]{},&*!|>'\"%@#\\ \n\t~<=é\0", max_size=60)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def attempt(read, text: bytes | str):
    """What comes out; None after a message that names the file."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "params.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
        try:
            return read(file)
        except UserError as error:
            message = str(error)
        assert message.startswith(str(file))
        return None


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | YAML_LIKE)
def test_any_file_is_a_mapping_or_a_message(content):
    outcome = attempt(read_params, content)
    assert outcome is None or isinstance(outcome, dict)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(SECTIONS), VALUES)
def test_any_value_of_any_section_is_a_protocol_or_a_message(section, value):
    content = json.loads(json.dumps(attempt(read_params, TINY), default=str))
    content[section] = value
    outcome = attempt(read_protocol, json.dumps(content))
    assert outcome is None or isinstance(outcome, Protocol)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(TINY) - 1), YAML_LIKE)
def test_any_edit_of_a_protocol_is_a_protocol_or_a_message(place, passage):
    outcome = attempt(read_protocol, TINY[:place] + passage + TINY[place + 8 :])
    assert outcome is None or isinstance(outcome, Protocol)


# Without surrogates, which no UTF-8 holds, and the zero byte, which no path may hold.
CONTROL_CHARACTERS = [chr(code) for code in range(1, 0xD800) if UNPRINTABLE.match(chr(code))]


def folder_names(excluded):
    characters = st.characters(codec="utf-8", exclude_characters=f"/\0{excluded}")
    names = st.text(alphabet=characters, min_size=1, max_size=20)
    return names.filter(lambda name: name not in (".", "..") and len(name.encode()) < 200)


@settings(max_examples=15, deadline=None)
@given(folder_names(excluded="".join(CONTROL_CHARACTERS)))
def test_a_profile_gives_back_any_folder_that_it_was_given(name):
    with TemporaryDirectory() as top, pytest.MonkeyPatch.context() as patch:
        patch.chdir(top)
        folder = Path(top) / name
        folder.mkdir()
        use_profile("medmnist", folder, force=True)
        protocol = read_protocol()
        assert {dataset.path for dataset in protocol.datasets.values()} == {folder.as_posix()}
        assert list(protocol.datasets) == ["chestmnist", "pathmnist", "retinamnist"]


@settings(max_examples=15, deadline=None)
@given(folder_names(excluded=""), st.sampled_from(CONTROL_CHARACTERS), folder_names(excluded=""))
def test_a_folder_with_a_control_character_is_refused(before, character, after):
    with TemporaryDirectory() as top, pytest.MonkeyPatch.context() as patch:
        patch.chdir(top)
        folder = Path(top) / f"{before[:8]}{character}{after[:8]}"
        folder.mkdir()
        with pytest.raises(UserError, match="holds a control character or a line break; rename the file or"):
            use_profile("medmnist", folder, force=True)
