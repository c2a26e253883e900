import os
import stat
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from imssl.datasets.files import find, layout_error, one_each, open_files
from imssl.datasets.source import BadImage
from imssl.datasets.text import read_table
from imssl.errors import UserError

TREE = {
    "b/2.png": b"two",
    "a.csv": b"x,y\n1,2\n",
    "b/1.png": b"one",
    ".hidden": b"",
    "__MACOSX/b/._1.png": b"",
}


@pytest.mark.parametrize("name", ["tree", "tree.zip"])
def test_folder_and_zip_look_the_same(tmp_path, write_tree, name):
    files = open_files(write_tree(tmp_path / name, TREE))
    assert files.names == ["a.csv", "b/1.png", "b/2.png"]
    assert files.read("b/2.png") == b"two"
    assert not files.refused


def test_a_folder_with_one_zip_stands_for_the_zip(tmp_path, write_tree):
    (tmp_path / "folder").mkdir()
    write_tree(tmp_path / "folder" / "archive.zip", TREE)
    files = open_files(tmp_path / "folder")
    assert files.names == ["a.csv", "b/1.png", "b/2.png"]
    assert list(files.checksums()) == ["archive.zip"]


def test_links_out_of_a_folder_are_refused(tmp_path, write_tree):
    write_tree(tmp_path / "outside", {"secret.png": b"secret"})
    root = write_tree(tmp_path / "root", {"kept.png": b"kept"})
    (root / "inside.png").symlink_to(root / "kept.png")
    (root / "leak.png").symlink_to(tmp_path / "outside" / "secret.png")
    (root / "folder").symlink_to(tmp_path / "outside")
    files = open_files(root)
    assert files.names == ["inside.png", "kept.png"]
    assert dict(files.refused) == {
        "leak.png": f"is a link to a place outside the folder: {tmp_path / 'outside'}",
        "folder": f"is a link to a place outside the folder: {tmp_path}",
    }


def test_unsafe_names_in_a_zip_are_refused(tmp_path):
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("../up.png", "/absolute.png", "a/../../up.png", "a\\..\\up.png", "C:/x.png", "good.png"):
            archive.writestr(name, b"x")
        archive.writestr(link, "/etc/hostname")
    files = open_files(tmp_path / "x.zip")
    assert files.names == ["good.png"]
    assert len(files.refused) == 6


def test_a_zip_can_be_read_from_several_threads(tmp_path, write_tree):
    contents = {f"{i}.bin": os.urandom(20_000) for i in range(60)}
    files = open_files(write_tree(tmp_path / "x.zip", contents))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(files.read, files.names * 5))
    assert found == [contents[name] for name in files.names * 5]


def test_damage_in_a_zip_is_a_bad_image(tmp_path, write_tree):
    file = write_tree(tmp_path / "x.zip", {"a.png": b"A" * 500, "b.png": b"B" * 500})
    file.write_bytes(file.read_bytes().replace(b"A" * 500, b"A" * 499 + b"?"))
    files = open_files(file)
    with pytest.raises(BadImage, match=r"a\.png: is damaged"):
        files.read("a.png")
    assert files.read("b.png") == b"B" * 500


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "x.zip").write_text("<html>Sign in</html>")
    with pytest.raises(UserError, match="not a readable zip"):
        open_files(tmp_path / "x.zip")
    with pytest.raises(UserError, match="does not exist"):
        open_files(tmp_path / "nothing")


def test_an_unreadable_file_is_a_bad_image(tmp_path, write_tree):
    root = write_tree(tmp_path / "root", {"a.png": b"x"})
    files = open_files(root)
    (root / "a.png").unlink()
    with pytest.raises(BadImage, match=r"a\.png: cannot be read"):
        files.read("a.png")


def test_find_prefers_the_first_name_and_the_nearest_file(tmp_path, write_tree):
    files = open_files(
        write_tree(tmp_path / "t", {"a/x.csv": b"", "x.csv": b"", "a/y.csv": b"", "xx.csv": b""})
    )
    assert find(files, "z.csv", "x.csv", "y.csv") == "x.csv"
    assert find(files, "y.csv") == "a/y.csv"
    assert find(files, "z.csv") is None


def test_second_files_of_an_id_are_bad():
    bad: list[tuple[str, str]] = []
    assert one_each(["a/1.png", "a/2.png", "b/1.png"], bad) == {"1": "a/1.png", "2": "a/2.png"}
    assert bad == [("b/1.png", "duplicate id: a/1.png has the same name")]


def test_tables_are_text():
    table = read_table(b"\xef\xbb\xbfid,label\n007, 1\nNA,\n", "t.csv", ["id", "label"])
    assert table.to_numpy().tolist() == [["007", "1"], ["NA", ""]]


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2,3\n4,5,6,7\n", b"\xff\xfe\x00"])
def test_tables_that_are_none_are_refused(content):
    with pytest.raises(UserError, match=r"t\.csv"):
        read_table(content, "t.csv", ["id"])


def test_missing_columns_are_named():
    with pytest.raises(UserError, match="lacks the column label; it has id, level"):
        read_table(b"id,level\n1,2\n", "t.csv", ["id", "label"])


def test_a_wrong_layout_says_what_was_expected_and_found(tmp_path, write_tree):
    files = open_files(write_tree(tmp_path / "t", {f"{i}.txt": b"" for i in range(10)}))
    message = str(layout_error(files, "some images"))
    for part in ("Expected: some images", "0.txt", "7.txt", "and 2 more", str(tmp_path / "t")):
        assert part in message
    (tmp_path / "empty").mkdir()
    assert "Found:\n  nothing" in str(layout_error(open_files(tmp_path / "empty"), "some images"))
