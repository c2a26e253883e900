"""Method files of a project: found beside the suite's, noted as if they lay there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.methods import checked
from bench.methods.names import check_free
from bench.protocol.registry import added_methods, load_method, method_file, place_of_method, shown
from bench.protocol.source_files.places import is_checkout
from imssl.errors import UserError
from imssl.methods.moco import Moco

MINE = '"""Mine."""\n\nfrom .moco import Moco\n\n\nclass Mine(Moco):\n    """As MoCo."""\n'
FINGERPRINT = """
import json
from pathlib import Path
from bench.cells.fingerprints import method_fingerprint, source_file
from bench.protocol.protocol import read_protocol
code = method_fingerprint("mine", read_protocol())
print(json.dumps({name: [sha, str(source_file(name))] for name, sha in code.items()}))
"""


@pytest.fixture
def mine(edited, project):
    (project / "methods").mkdir()
    (project / "methods" / "mine.py").write_text(MINE)
    yield edited("  random-init: {}\n", "  random-init: {}\n  mine: {queue: 32}\n")
    for name in [name for name in sys.modules if name == "imssl.methods.mine"]:
        del sys.modules[name]


def test_an_own_method_is_loaded_and_may_build_on_the_suites(mine, project, monkeypatch):
    monkeypatch.delitem(sys.modules, "imssl.methods.mine", raising=False)  # of another test's project
    file = method_file("mine", mine)
    assert file == project.resolve() / "methods" / "mine.py"
    assert shown(file) == "methods/mine.py"
    registered = load_method("mine", mine)
    assert issubclass(registered.method, Moco)
    assert registered.method.__module__ == "imssl.methods.mine"
    assert Path(sys.modules["imssl.methods.mine"].__file__) == file


def test_its_code_is_noted_as_if_it_lay_in_the_suite(mine, project):
    ended = subprocess.run([sys.executable, "-c", FINGERPRINT], capture_output=True, text=True, check=True)
    noted = json.loads(ended.stdout)
    assert noted["imssl/methods/mine.py"][1] == str(project.resolve() / "methods" / "mine.py")
    assert "imssl/methods/moco.py" in noted
    assert "imssl/losses.py" in noted


def test_a_file_with_the_name_of_a_suites_method_is_refused(mine, project):
    (project / "methods" / "moco.py").write_text(MINE)
    with pytest.raises(UserError, match=r"methods/moco\.py has the name of a method of the suite"):
        method_file("moco", mine)


def test_what_is_added_goes_to_the_project(mine, project):
    assert not is_checkout()
    assert added_methods() == project.resolve() / "methods"
    assert place_of_method("new.py") == project.resolve() / "methods" / "new.py"
    assert shown(place_of_method("moco.py")) == "imssl/methods/moco.py"
    assert checked.record_file("new.py") == project.resolve() / "methods" / "checked" / "new.json"
    with pytest.raises(UserError, match=r"mine is already a method"):
        check_free("mine")
