"""A source that is saved while a process is at work is noticed, also when it is put back."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bench

PROGRAM = """
import sys
from pathlib import Path
from bench.protocol.source_files.at_start import sources_at_start, saved_since_start
assert not [name for name in sys.modules if name.startswith(("imssl.", "bench.cells"))]
sources_at_start()
file = Path("imssl/losses.py").resolve()
old = file.read_bytes()
{edit}
print([path.name for path in saved_since_start([file, Path("imssl/queue.py").resolve()])])
"""

EDITS = {
    "": "[]",
    "file.write_bytes(old + b'# x')": "['losses.py']",
    "file.write_bytes(b''); file.write_bytes(old)": "['losses.py']",
    "file.unlink()": "['losses.py']",
}


@pytest.mark.parametrize("edit", EDITS)
def test_what_is_saved_after_the_start_is_noticed(tmp_path, edit):
    for package in ("bench", "imssl"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    folder = tmp_path / "bench" / "protocol" / "source_files"
    folder.mkdir(parents=True)
    for package in (folder.parent, folder):
        (package / "__init__.py").touch()
    for name in ("at_start", "places"):
        shutil.copy(Path(bench.__file__).parent / "protocol" / "source_files" / f"{name}.py", folder)
    for name in ("losses", "queue"):
        (tmp_path / "imssl" / f"{name}.py").write_text("value = 1\n")
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(edit=edit)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout.strip() == EDITS[edit], ended.stderr
