"""Whatever a file of a data set or a checkpoint holds, reading it gives a value or the documented error."""

import io
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.cells.records import read_record
from imssl.checkpoint import load_checkpoint, save_checkpoint
from imssl.datasets.files import open_files
from imssl.datasets.images import decode
from imssl.datasets.prepared import read_card
from imssl.datasets.source import BadImage
from imssl.datasets.text import read_table
from imssl.errors import UserError

# Pillow warns of what it then refuses.
pytestmark = [
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:PIL"),
]


def encoded(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)).save(stream, kind)
    return stream.getvalue()


WHOLE = {kind: encoded(kind) for kind in ("PNG", "JPEG", "TIFF", "BMP", "GIF")}


@st.composite
def damaged(draw, whole: bytes) -> bytes:
    """A file with a passage replaced, taken out or put in."""
    place = draw(st.integers(0, len(whole)))
    length = draw(st.integers(0, 12))
    return whole[:place] + draw(st.binary(max_size=12)) + whole[place + length :]


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(sorted(WHOLE)).flatmap(lambda kind: damaged(WHOLE[kind])) | st.binary(max_size=100))
def test_any_image_is_pixels_or_a_reason(content):
    try:
        pixels = decode(content, "x.png")
    except BadImage as bad:
        reason = str(bad)
    else:
        assert pixels.dtype == np.uint8
        assert pixels.ndim in (2, 3)
        assert pixels.size > 0
        return
    assert reason.startswith("x.png: ")
    assert "\n" not in reason


@settings(max_examples=150, deadline=None)
@given(damaged(b'id,label\n1,2\n"a b",3\n') | st.binary(max_size=60))
@example(b"id,label\n1,2,3,4\n")
@example(b'id,label\n"')
@example(b"\xff\xfei\0d\0")
def test_any_table_is_rows_of_text_or_a_message(content):
    try:
        table = read_table(content, "table.csv", ("id", "label"))
    except UserError as error:
        message = str(error)
    else:
        assert {"id", "label"} <= set(table.columns)
        assert all(isinstance(value, str) for value in table.to_numpy().ravel())
        return
    assert message.startswith("table.csv")


def archive() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        for name in ("a/1.png", "b.csv"):
            made.writestr(name, b"content " * 20)
    return stream.getvalue()


@settings(max_examples=150, deadline=None)
@given(damaged(archive()) | st.binary(max_size=60))
def test_any_zip_is_files_or_a_message(content):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.zip"
        path.write_bytes(content)
        try:
            files = open_files(path)
        except UserError as error:
            message = str(error)
            assert str(path) in message
            return
        for name in files.names:
            try:
                assert isinstance(files.read(name), bytes)
            except BadImage:
                continue


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80) | st.text(max_size=60).map(str.encode), st.sampled_from(["card", "cell"]))
def test_any_card_or_record_is_refused_with_a_message(content, kind):
    with TemporaryDirectory() as folder:
        (Path(folder) / f"{kind}.json").write_bytes(content)
        with pytest.raises(UserError, match=f"{kind}.json"):
            (read_card if kind == "card" else read_record)(Path(folder))


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_damage_of_a_checkpoint_falls_back_to_the_one_before(data):
    with TemporaryDirectory() as folder:
        file = Path(folder) / "cell.checkpoint"
        save_checkpoint(file, {"step": 1}, "run")
        save_checkpoint(file, {"step": 2}, "run")
        whole = file.read_bytes()
        content = data.draw(damaged(whole))
        file.write_bytes(content)
        assert load_checkpoint(file, "run") == {"step": 2 if content == whole else 1}
        file.with_suffix(".previous").write_bytes(b"")
        assert load_checkpoint(file, "run") == ({"step": 2} if content == whole else None)
