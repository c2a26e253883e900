import sys

import pytest

from imssl.datasets import eyepacs, idc, kaggle, nih
from imssl.datasets.source import NotThere
from imssl.errors import UserError

ADAPTERS = {
    "nih-chest-xrays/data": nih.source,
    "paultimothymooney/breast-histopathology-images": lambda path: idc.source(path, None),
    "diabetic-retinopathy-detection": lambda path: eyepacs.source(path, "five"),
}


@pytest.fixture
def client(tmp_path, monkeypatch):
    """Put a kaggle on the PATH that notes its arguments and then runs some Python."""

    def install(python):
        folder = tmp_path / "bin"
        folder.mkdir()
        script = folder / "kaggle"
        lines = [
            f"#!{sys.executable}",
            "import pathlib, sys, zipfile",
            f"pathlib.Path({str(tmp_path / 'called')!r}).write_text(' '.join(sys.argv[1:-1]))",
            "target = pathlib.Path(sys.argv[-1])",
            python,
        ]
        script.write_text("\n".join(lines) + "\n")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))
        return tmp_path / "called"

    return install


@pytest.mark.parametrize("slug", ADAPTERS)
def test_without_a_client_the_user_learns_what_to_download(tmp_path, monkeypatch, slug):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError) as raised:
        ADAPTERS[slug](tmp_path / "raw" / "set")
    for part in ("does not exist", slug, "https://www.kaggle.com/", str(tmp_path / "raw" / "set")):
        assert part in str(raised.value)
    assert not (tmp_path / "raw").exists()


MAKE_IDC = """
with zipfile.ZipFile(target / "breast-histopathology-images.zip", "w") as archive:
    archive.writestr("8863/0/a.png", b"x")
"""


@pytest.mark.parametrize("name", ["idc", "idc.zip"])
def test_the_client_fetches_what_is_missing(tmp_path, client, name):
    called = client(MAKE_IDC)
    path = tmp_path / "raw" / name
    with pytest.raises(NotThere):
        idc.source(path, None)
    assert not called.exists(), "only fetch may download"
    kaggle.fetch(kaggle.IDC, path)
    source = idc.source(path, None)
    assert [sample.id for sample in source.samples] == ["a"]
    assert called.read_text() == "datasets download -d paultimothymooney/breast-histopathology-images -p"
    assert path.is_file() == (name == "idc.zip")
    assert [file.name for file in (tmp_path / "raw").iterdir()] == [name]


def test_competitions_have_their_own_command(tmp_path, client):
    called = client("zipfile.ZipFile(target / 'x.zip', 'w').close()")
    kaggle.fetch(kaggle.EYEPACS, tmp_path / "eyepacs.zip")
    assert called.read_text() == "competitions download -c diabetic-retinopathy-detection -p"


@pytest.mark.parametrize(
    ("python", "said"),
    [
        (
            "print('first line', '403 - Forbidden', sep=chr(10), file=sys.stderr); sys.exit(1)",
            "403 - Forbidden",
        ),
        ("print('nothing to do')", "nothing to do"),
        ("(target / 'half.zip').write_bytes(b'x'); sys.exit(2)", "nothing"),
    ],
)
def test_a_client_that_fails_leaves_nothing_and_is_quoted(tmp_path, client, python, said):
    client(python)
    with pytest.raises(UserError, match=f"It said: {said}") as raised:
        kaggle.fetch(kaggle.NIH, tmp_path / "raw" / "nih")
    assert "https://www.kaggle.com/datasets/nih-chest-xrays/data" in str(raised.value)
    assert list((tmp_path / "raw").iterdir()) == []
