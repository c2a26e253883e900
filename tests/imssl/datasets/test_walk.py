import os
import socket

import pytest

from imssl.datasets import walk as module
from imssl.datasets.files import NO_SUFFIX, NOT_READ, leftovers, located, open_files
from imssl.datasets.walk import walk
from imssl.errors import UserError


def test_links_are_followed_where_they_end_in_the_root_or_in_a_named_folder(tmp_path, write_tree):
    root = write_tree(tmp_path / "root", {"pool/a.png": b"a", "pool/b.png": b"b"})
    write_tree(tmp_path / "cache", {"ab/cdef": b"c", "folder/d.png": b"d"})
    (root / "a-again.png").symlink_to("pool/a.png")
    (root / "pool-again").symlink_to("pool")
    (root / "cached.png").symlink_to(tmp_path / "cache" / "ab" / "cdef")
    (root / "cached").symlink_to(tmp_path / "cache" / "folder")
    inside = ["a-again.png", "pool-again/a.png", "pool-again/b.png", "pool/a.png", "pool/b.png"]
    listing = walk(root)
    assert list(listing.files) == inside
    assert dict(listing.refused) == {
        "cached": f"is a link to a place outside the folder: {tmp_path / 'cache'}",
        "cached.png": f"is a link to a place outside the folder: {tmp_path / 'cache' / 'ab'}",
    }
    listing = walk(root, [tmp_path / "cache"])
    assert list(listing.files) == sorted([*inside, "cached.png", "cached/d.png"])
    assert listing.files["cached.png"] == 1
    assert listing.refused == []


def test_a_root_and_a_followed_folder_may_be_links_themselves(tmp_path, write_tree):
    write_tree(tmp_path / "real", {"a.png": b"a"})
    write_tree(tmp_path / "cache", {"x": b"x"})
    (tmp_path / "root").symlink_to("real")
    (tmp_path / "cache-link").symlink_to("cache")
    (tmp_path / "real" / "x.png").symlink_to(tmp_path / "cache" / "x")
    assert list(walk(tmp_path / "root", [tmp_path / "cache-link"]).files) == ["a.png", "x.png"]


def test_loops_and_links_to_nothing_are_listed(tmp_path, write_tree):
    root = write_tree(tmp_path / "root", {"a/b/x.png": b"x"})
    (root / "a" / "b" / "up").symlink_to("../..")
    (root / "self").symlink_to("self")
    (root / "ping").symlink_to("pong")
    (root / "pong").symlink_to("ping")
    (root / "gone.png").symlink_to("nowhere/x.png")
    listing = walk(root)
    assert list(listing.files) == ["a/b/x.png"]
    assert dict(listing.refused) == {
        "a/b/up": "is a link to a folder that contains it",
        "gone.png": "is a link to nothing: nowhere/x.png",
        "ping": "is a link that leads back to itself",
        "pong": "is a link that leads back to itself",
        "self": "is a link that leads back to itself",
    }


def test_folders_that_link_to_one_another_end(tmp_path, write_tree):
    root = write_tree(tmp_path / "root", {"a/1.png": b"1", "b/2.png": b"2"})
    (root / "a" / "to-b").symlink_to("../b")
    (root / "b" / "to-a").symlink_to("../a")
    listing = walk(root)
    assert list(listing.files) == ["a/1.png", "a/to-b/2.png", "b/2.png", "b/to-a/1.png"]
    assert [name for name, _ in listing.refused] == ["a/to-b/to-a", "b/to-a/to-b"]


def test_endlessly_many_names_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_FILES", 500)
    for level in range(12):
        folder = tmp_path / f"{level:02d}"
        folder.mkdir()
        for twin in ("left", "right"):
            (folder / twin).symlink_to(f"../{level + 1:02d}")
    (tmp_path / "12").mkdir()
    (tmp_path / "12" / "x.png").write_bytes(b"x")
    with pytest.raises(UserError, match="more than 500 files"):
        walk(tmp_path)


def test_what_is_no_file_is_listed_and_never_opened(tmp_path, write_tree):
    root = write_tree(tmp_path / "root", {"a.png": b"a"})
    os.mkfifo(root / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "socket.png"))
        (root / "device.png").symlink_to("/dev/zero")
        listing = walk(root, ["/dev"])
    assert list(listing.files) == ["a.png"]
    assert dict(listing.refused) == {
        "device.png": "is a device, not a file",
        "pipe.png": "is a named pipe, not a file",
        "socket.png": "is a socket, not a file",
    }


def test_unprintable_names_are_listed_in_a_printable_form(tmp_path, write_tree):
    root = write_tree(tmp_path / "root", {"a.png": b"a", "line\nbreak.png": b"b", "\x1b[31mred.png": b"c"})
    (root / os.fsdecode(b"latin-\xe9.png")).write_bytes(b"d")
    listing = walk(root)
    assert list(listing.files) == ["a.png"]
    assert dict(listing.refused) == {
        r"line\nbreak.png": "its name holds control characters",
        r"\x1b[31mred.png": "its name holds control characters",
        r"latin-\xe9.png": "its name is not UTF-8",
    }


def test_hidden_files_are_listed_and_a_hidden_folder_stands_for_its_files(tmp_path, write_tree):
    root = write_tree(
        tmp_path / "root", {".git/config": b"", ".x.png": b"", "__MACOSX/._a.png": b"", "a.png": b""}
    )
    assert walk(root).hidden == [".git", ".x.png", "__MACOSX"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_listed(tmp_path, write_tree):
    root = write_tree(tmp_path / "root", {"a.png": b"", "closed/b.png": b""})
    (root / "closed").chmod(0)
    try:
        assert walk(root).refused == [("closed", "cannot be read: Permission denied")]
    finally:
        (root / "closed").chmod(0o755)


def test_leftovers_are_faults_if_they_may_belong_to_the_data_set(tmp_path, write_tree):
    root = write_tree(tmp_path / "root", {"a.png": b"", "b.PNG": b"", "read.me": b"", ".hidden": b""})
    (root / "linked").symlink_to("/etc")
    (root / "notes.txt").symlink_to("/etc/hostname")
    bad, unused = leftovers(open_files(root), ["a.png"])
    assert [name for name, _ in bad] == ["b.PNG", "linked"]
    assert [name for name, _ in unused] == ["read.me", "notes.txt", ".hidden"]


def test_images_that_are_not_read_are_faults(tmp_path, write_tree, png):
    plain = (b"P6 1 1 255 ", b"GIF89a", b"")
    files = {
        "a.ppm": plain[0],
        "b.GIF": plain[1],
        "c.nii.gz": b"",
        "d.JFIF": png(0, kind="JPEG"),
        "e": png(0),
    }
    files |= {"f": png(1, kind="WEBP"), "LICENSE": b"free", "more.zip": b"", "notes.txt": b""}
    for root in (write_tree(tmp_path / "root", files), write_tree(tmp_path / "root.zip", files)):
        bad, unused = leftovers(open_files(root), [])
        assert dict(bad) == {
            "a.ppm": NOT_READ, "b.GIF": NOT_READ, "c.nii.gz": NOT_READ, "e": NO_SUFFIX, "f": NO_SUFFIX,
            "d.JFIF": "lies where this source has no images",
        }  # fmt: skip
        assert dict(unused)["more.zip"].startswith("is a zip among other files")
        assert {name for name, _ in unused} == {"LICENSE", "more.zip", "notes.txt"}


def test_home_and_variables_are_put_into_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("DATA", "/data")
    monkeypatch.delenv("NOT_SET", raising=False)
    assert str(located("~/nih")) == "/home/me/nih"
    assert str(located("$DATA/${DATA}/x")) == "/data//data/x".replace("//", "/")
    assert str(located("raw/x")) == str(tmp_path / "raw" / "x")
    assert str(located("cost$")) == str(tmp_path / "cost$")
    with pytest.raises(UserError, match=r"the variable \$NOT_SET is not set"):
        located("$NOT_SET/x")
    with pytest.raises(UserError, match="home folder"):
        located("~nobody-of-this-name/x")
