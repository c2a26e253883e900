"""What a user means by the name or the path of a method."""

from pathlib import Path

import pytest

from bench.methods.names import source_path
from bench.protocol.registry import METHODS_FOLDER
from imssl.errors import UserError


def test_a_name_that_is_nearly_one_of_the_suites_is_answered_with_that(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for wrong, meant in (("mocoo", "moco"), ("simclrr", "simclr"), ("moco_barlo", "moco-barlow")):
        with pytest.raises(UserError, match=f"Did you mean {meant}\\?"):
            source_path(Path(wrong))
    assert source_path(Path("moco")) == METHODS_FOLDER / "moco.py"
    # A file is taken for what it is, and so is what is like no name of the suite.
    Path("mocoo").touch()
    for given in ("mocoo", "mocoo.py", "elsewhere/own.py", "nothing-like-it"):
        assert source_path(Path(given)) == Path(given)
