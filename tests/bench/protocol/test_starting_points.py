"""Paths of weights, as a protocol may write them, and what may lie there instead of a file."""

import hashlib
import os
from pathlib import Path

import pytest

from bench.protocol.starting_points import starting_point
from imssl.errors import UserError


@pytest.fixture
def start(edited):
    def of(written):
        protocol = edited("  width: 8\n", f"  width: 8\n  weights: {written}\n")
        return starting_point("moco", "chest", protocol, from_scratch=False)

    return of


@pytest.mark.parametrize("written", ["$WEIGHTS/w.pt", "~/elsewhere/w.pt"])
def test_a_variable_and_the_home_folder_are_put_in(start, tmp_path, monkeypatch, written):
    monkeypatch.setenv("WEIGHTS", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "elsewhere" / "w.pt"
    file.parent.mkdir()
    file.write_bytes(b"weights")
    assert vars(start(written)) == {
        "initialisation": "encoder.weights",
        "file": file,
        "sha256": hashlib.sha256(b"weights").hexdigest(),
    }


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("$NOT_SET/w.pt", r"encoder.weights is \$NOT_SET/w.pt: the variable \$NOT_SET is not set"),
        ("~nobody-here/w.pt", "encoder.weights is ~nobody-here/w.pt: this home folder is not known"),
        ("pipe", r"encoder.weights is pipe, .* \(is a named pipe, not a file\)"),
        ("/dev/zero", r"\(is a device, not a file\)"),
        ("folder", r"\(is a folder, not a file\)"),
    ],
)
def test_what_is_no_file_is_refused_with_its_line(start, written, message):
    os.mkfifo("pipe")
    Path("folder").mkdir()
    with pytest.raises(UserError, match=rf"params.yaml, line \d+: .*{message}"):
        start(written)
