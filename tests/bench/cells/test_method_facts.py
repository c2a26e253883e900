import json
import subprocess
import sys

import pytest

from bench.cells import method_facts as module
from bench.cells.method_facts import method_facts
from bench.protocol.protocol import read_protocol

FILE = '''"""A method."""
{first}
from imssl.method import Method, MethodSettings


class MineSettings(MethodSettings):
    """Settings.

    Attributes:
        strength: of it.
    """

    strength: float = 0.5


class Mine(Method):
    """Does nothing."""

    settings_class = MineSettings
    pretrains = False
'''


@pytest.fixture
def listed(copy):
    """Enter a method file of one's own, with a line at its top, and list the methods."""
    file = copy.folder / "imssl" / "methods" / "mine.py"
    params = copy.folder / "params.yaml"
    row = "  random-init: {}\n"
    params.write_text(params.read_text().replace(row, row + "  mine: {strength: 0.75}\n"))

    def listing(first: str = "") -> tuple[int, list, str]:
        file.write_text(FILE.format(first=first), encoding="utf-8")
        status, out, err = copy.bench("methods", "--json")
        return status, json.loads(out) if status == 0 else [], err

    return listing


def test_facts_of_a_row(listed):
    status, rows, err = listed()
    assert (status, err) == (0, "")
    (mine,) = (row for row in rows if row["id"] == "mine")
    assert mine["settings"] == mine["differs"] == {"strength": 0.75}


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ("import nothing_of_this_name", "cannot be imported: ModuleNotFoundError: No module named 'nothing"),
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero"),
        ("raise SystemExit(7)", "cannot be imported: SystemExit: 7"),
        ("import os; os._exit(3)", "the process that imported it ended"),
    ],
)
def test_a_file_that_cannot_be_imported_is_one_message(listed, first, words):
    status, _, err = listed(first)
    assert status == 2
    assert (
        f"imssl/methods/mine.py (methods.mine of params.yaml){':' if 'process' in words else ''} {words}"
        in err
    )


def test_the_file_is_imported_in_another_process_and_without_torch_in_one_of_its_own(project):
    program = (
        "import json, sys\n"
        "from bench.cells.method_facts import method_facts\n"
        "from bench.protocol.protocol import read_protocol\n"
        "facts = method_facts(read_protocol())\n"
        "loaded = [name for name in ('torch', 'imssl.methods.moco') if name in sys.modules]\n"
        "print(json.dumps([facts['moco'].settings['hidden'], facts['random-init'].pretrains, loaded]))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(ended.stdout) == [16, False, []]


def test_facts_are_kept_once_a_run_has_begun(project, monkeypatch):
    monkeypatch.setattr(module, "_known", {})
    method_facts(read_protocol())
    assert not (project / ".bench").exists()


def test_facts_are_kept_and_found_again(project, monkeypatch):
    (project / ".bench").mkdir()
    monkeypatch.setattr(module, "_known", {})
    before = method_facts(read_protocol())
    monkeypatch.setattr(module, "_known", {})
    monkeypatch.setattr(module, "_asked", lambda *_: pytest.fail("asked again"))
    again = method_facts(read_protocol())
    assert again == before
    # Pages list the settings in this order, and equal results are to give equal pages.
    assert list(again["moco"].settings) == list(before["moco"].settings)
    assert before["moco"].settings == {**before["moco"].defaults, **read_protocol().methods["moco"]}


def test_another_row_of_the_same_file_is_asked_anew(edited, monkeypatch):
    monkeypatch.setattr(module, "_known", {})
    method_facts(read_protocol())
    asked = []
    real = module._asked
    monkeypatch.setattr(
        module, "_asked", lambda names, protocol: asked.append(names) or real(names, protocol)
    )
    changed = edited("  moco:\n    hidden: 16", "  moco:\n    hidden: 17")
    assert method_facts(changed)["moco"].settings["hidden"] == 17
    assert asked == [["moco"]]
