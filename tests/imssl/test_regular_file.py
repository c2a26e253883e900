import errno
import os

import pytest

from imssl.regular_file import read_regular


def test_files_and_links_to_files_are_read(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "link").symlink_to("a")
    assert read_regular(tmp_path / "a") == read_regular(tmp_path / "link", most_bytes=7) == b"content"


def test_a_pipe_a_device_and_a_folder_are_refused_unopened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name, words in {"pipe": "named pipe", "device": "device", ".": "folder"}.items():
        with pytest.raises(OSError, match=words) as raised:
            read_regular(tmp_path / name)
        assert raised.value.errno == errno.EINVAL


def test_a_file_that_is_too_large_is_refused_unread(tmp_path):
    with (tmp_path / "large").open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(OSError, match="larger than 1,000 bytes"):
        read_regular(tmp_path / "large", most_bytes=1000)
