"""What a machine without the project's folder is given of it."""

from pathlib import Path

import pytest

from bench.launch.engines.depot import Depot, fetch_project
from imssl.errors import UserError


@pytest.fixture
def ask(project):
    depot = Depot(str(project))
    return lambda name, *arguments: getattr(depot, name)(*arguments)


def named(edited, weights):
    edited("  width: 8\n", f"  width: 8\n  weights: {weights}\n")


def test_weights_inside_the_project_are_brought_along(edited, ask, tmp_path):
    named(edited, "weights/w.pt")
    Path("weights").mkdir()
    Path("weights/w.pt").write_bytes(b"weights")
    fetch_project(tmp_path / "there", ask)
    assert (tmp_path / "there" / "weights" / "w.pt").read_bytes() == b"weights"


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("../w.pt", "may lie outside the project"),
        ("weights/../../w.pt", "may lie outside the project"),
        ("$NOT_SET/w.pt", "NOT_SET is not set"),
        ("/absent/w.pt", "has no such file"),
    ],
)
def test_nothing_is_written_beside_the_folder(edited, ask, tmp_path, weights, message):
    named(edited, weights)
    folder = tmp_path / "machine" / "there"
    with pytest.raises(UserError, match=message):
        fetch_project(folder, ask)
    assert list(folder.parent.iterdir()) == [folder]
    assert not (folder / "params.yaml").exists()
