"""A scratch project finds the weights of the real one and leaves nothing behind."""

import os
import tempfile
from pathlib import Path

import pytest

from bench.trust.scratch import scratch_project


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """The folder for temporary folders, which is empty."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize(
    "written", ["../w.pt", "../../w.pt", "weights/../../w.pt", "w.pt", "weights/w.pt", "$HERE/w.pt"]
)
def test_weights_are_found_wherever_they_lie_and_no_link_stays(edited, beside, monkeypatch, written):
    # From two folders further in, so that ../../w.pt is a place of this test's own.
    inner = Path("a", "b").absolute()
    inner.mkdir(parents=True)
    monkeypatch.setenv("HERE", str(inner))
    edited("  width: 8\n", f"  width: 8\n  weights: {written}\n")
    Path("params.yaml").rename(inner / "params.yaml")
    monkeypatch.chdir(inner)
    Path("weights").mkdir()
    file = Path(os.path.expandvars(written))
    file.write_bytes(b"weights")
    before = sorted(inner.parents[1].rglob("*"))
    with scratch_project() as folder:
        (temporary,) = beside.iterdir()
        assert folder.is_relative_to(temporary)
        assert (folder / file).read_bytes() == b"weights"
        assert (folder / "params.yaml").read_bytes() == Path("params.yaml").read_bytes()
    assert list(beside.iterdir()) == []
    assert sorted(inner.parents[1].rglob("*")) == before


def test_a_link_of_weights_that_are_not_there_is_not_made(edited, beside):
    edited("  width: 8\n", "  width: 8\n  weights: ../absent.pt\n")
    with scratch_project() as folder:
        assert not os.path.lexists(folder / "../absent.pt")
