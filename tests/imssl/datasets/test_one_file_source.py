"""The source that docs/datasets.md shows: one file and one line, in a copy of the packages."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.code_blocks import ROOT, blocks
from tests.project_copy import TINY, copy_packages

ROW = """
  hospital:
    source: mammograms
    path: {path}
    size: 16
    channels: 1
    horizontal_flip: true
    vertical_flip: false
"""


@pytest.fixture
def example() -> str:
    return next(b.code for b in blocks(ROOT / "docs" / "datasets.md") if b.what == "mammograms.py")


@pytest.mark.slow
def test_one_file_and_one_line_add_a_source(tmp_path, png, write_tree, example):
    copy_packages(tmp_path)
    (tmp_path / "imssl" / "datasets" / "mammograms.py").write_text(example)
    line_in(tmp_path / "imssl" / "settings" / "sources.py")
    files = {f"p{n // 2}_{('CC', 'MLO')[n % 2]}_{('benign', 'malignant')[n // 2 % 2]}.png": png(n, mode="L")
             for n in range(40)}  # fmt: skip
    write_tree(tmp_path / "raw", files | {"stray.png": png(99), "readme.txt": "hello"})
    (tmp_path / "params.yaml").write_text(
        TINY.replace("datasets:", "datasets:" + ROW.format(path=tmp_path / "raw") + "    on_bad_image: skip")
    )
    run(tmp_path, "-m", "bench.stage", "inputs")
    run(tmp_path, "-m", "bench.stage", "data", "hospital")
    card = json.loads((tmp_path / "data" / "hospital" / "card.json").read_text())
    assert sum(count["samples"] for count in card["counts"].values()) == 40
    assert sum(count["patients"] for count in card["counts"].values()) == 20
    assert card["attributes"] == ["view"]
    assert [entry["first"] for entry in card["skipped"]] == [["stray.png"]]
    before = inputs(tmp_path)
    assert "imssl/datasets/mammograms.py" in before["data-hospital"]["code"]
    raw = before["data-hospital"]["raw"]
    assert list(raw) == ["sha256"]
    kept = tmp_path / ".bench" / "raw" / "kept" / f"{raw['sha256']}.json"
    assert json.loads(kept.read_text()).keys() == {*files, "stray.png", "readme.txt"}
    # An edit of the file makes the data set stale, and no other.
    adapter = tmp_path / "imssl" / "datasets" / "mammograms.py"
    adapter.write_text(adapter.read_text().replace("|malignant", "|malignant|other"))
    run(tmp_path, "-m", "bench.stage", "inputs")
    after = inputs(tmp_path)
    assert {name for name in before if before[name] != after[name]} == {"data-hospital"}


def line_in(registry: Path) -> None:
    text = registry.read_text()
    empty = "ONE_FILE_SOURCES: tuple[str, ...] = ()"
    assert text.count(empty) == 1
    registry.write_text(text.replace(empty, f'{empty[:-1]}\n    "imssl.datasets.mammograms",\n)'))


def run(folder: Path, *arguments: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(folder)}
    ended = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


def inputs(folder: Path) -> dict[str, dict]:
    return {file.stem: json.loads(file.read_text()) for file in (folder / "results" / "inputs").iterdir()}
