"""Archives of strangers, each hostile in one way: refused in a sentence, and nothing is written."""

import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.sharing import archive
from imssl.errors import UserError


@pytest.fixture
def unpacked(tmp_path) -> Callable[[Path], list[str]]:
    """Unpack into an empty folder, and hold that nothing is written outside of it."""
    folder = tmp_path / "deep" / "er" / "unpacked"
    folder.mkdir(parents=True)

    def unpack(file: Path) -> list[str]:
        before = set(tmp_path.rglob("*"))
        try:
            return archive.unpack(file, folder)
        finally:
            assert all(folder in path.parents for path in set(tmp_path.rglob("*")) - before)

    return unpack


def zip_of(file: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in entries:
            packed.writestr(name, content)
    return file


def link(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, 0o120777 << 16
    return entry


GOOD = ("results/chest/knn/moco/seed-0/fraction-0.5/cell.json", b"{}")


def test_what_a_submission_holds_is_unpacked(unpacked, tmp_path):
    file = zip_of(tmp_path / "a.zip", ("submission.json", b"{}"), ("method.py", b"x = 1\n"), GOOD)
    assert unpacked(file) == ["submission.json", "method.py", GOOD[0]]


@pytest.mark.parametrize(
    "name",
    [
        "../method.py", "results/../../method.py", "/method.py", "results//a.json", "results\\..\\a.json",
        "C:/method.py", "results/./a.json", "results/.git/a.json", "method.py/", "results/a b.json",
        "results/\x1b[2J.json", "results/é.json", "results/" + "a/" * 20 + "a.json",
        "results/" + "a" * 300 + ".json",
        "bench/a.json", "data/chest/samples.csv", "params.json", "results/a.py", "results/conftest.py",
        "results/a.pkl", "results/a.pt", "results/a.npy", "results/a.so", "results/a.sh", "results/a",
        "results/a.zip", "results/a.html", "METHOD.PY",
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere_or_are_code_are_refused(unpacked, tmp_path, name):
    with pytest.raises(UserError, match="nothing was unpacked") as refused:
        unpacked(zip_of(tmp_path / "a.zip", GOOD, (name, b"x")))
    assert "\x1b" not in str(refused.value)
    assert not list(tmp_path.rglob("cell.json"))


def test_links_are_refused(unpacked, tmp_path):
    with pytest.raises(UserError, match="is a link"):
        unpacked(zip_of(tmp_path / "a.zip", (link("results/passwd.csv"), b"/etc/passwd")))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["method.py", "results/A.json"])
def test_a_name_that_occurs_twice_is_refused(unpacked, tmp_path, second):
    entries = [("method.py", b"1"), ("results/a.json", b"1"), (second, b"2")]
    with pytest.raises(UserError, match="occurs twice"):
        unpacked(zip_of(tmp_path / "a.zip", *entries))


def test_bombs_are_refused_before_anything_is_written(unpacked, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MIB", 2**10)
    with pytest.raises(UserError, match="would unpack to"):
        unpacked(zip_of(tmp_path / "a.zip", ("results/a.csv", bytes(5_000_000))))
    monkeypatch.setattr(archive, "LARGEST_TEXT", 1000)
    with pytest.raises(UserError, match="more than such a file has"):
        unpacked(zip_of(tmp_path / "a.zip", ("results/a.csv", bytes(1001))))
    monkeypatch.setattr(archive, "MOST_FILES", 3)
    with pytest.raises(UserError, match="holds 4 files"):
        unpacked(zip_of(tmp_path / "a.zip", *((f"results/{i}.csv", b"") for i in range(4))))
    monkeypatch.setattr(archive, "LARGEST_ARCHIVE", 10)
    with pytest.raises(UserError, match="at most"):
        unpacked(tmp_path / "a.zip")


def test_an_archive_that_lies_about_a_size_is_refused(unpacked, tmp_path):
    file = zip_of(tmp_path / "a.zip", ("results/a.csv", bytes(100_000)))
    content = file.read_bytes()
    assert content.count(struct.pack("<I", 100_000)) == 2
    file.write_bytes(content.replace(struct.pack("<I", 100_000), struct.pack("<I", 10)))
    with pytest.raises(UserError):
        unpacked(file)


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"no zip", pickle.dumps({"a": 1}), b"PK\x03\x04" + bytes(100)]
)
def test_what_is_no_zip_file_is_refused(unpacked, tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(UserError, match="is no zip file"):
        unpacked(tmp_path / "a.zip")


def test_torn_and_encrypted_files_are_refused(unpacked, tmp_path):
    file = zip_of(tmp_path / "a.zip", ("results/a.csv", bytes(range(256)) * 40))
    content = bytearray(file.read_bytes())
    content[60] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(UserError, match="is no zip file"):
        unpacked(file)
    content[6] |= 1  # in the entry and in the directory
    content[content.index(b"PK\x01\x02") + 8] |= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match="is encrypted"):
        unpacked(file)
