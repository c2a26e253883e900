"""Folders and zip archives behind one interface: names, and bytes by name. Nothing is ever unpacked."""

import hashlib
import io
import os
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

import pandas as pd

from imssl.datasets.source import BadImage
from imssl.errors import UserError

# No image or table of any source is so large, but the entry of an archive may claim any size.
MOST_BYTES = 2**29
SHOWN = 8


class Files(Protocol):
    """Read-only files below one root.

    Attributes:
        path: of the folder or archive.
        names: relative POSIX paths, sorted.
        refused: (name, reason) of files that are not read, for example because they lead out of the root.
    """

    path: Path
    names: list[str]
    refused: list[tuple[str, str]]

    def read(self, name: str) -> bytes:
        """Content of a file; may be called from several threads. Raises BadImage if it cannot be read."""
        ...

    def checksums(self) -> dict[str, str]:
        """SHA-256 of the archive by its name; empty for a folder."""
        ...


class Folder:
    """Files below a folder; links to folders, and links to files outside the folder, are not followed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: list[str] = []
        self.refused: list[tuple[str, str]] = []
        root = path.resolve()
        for parent, folders, names in os.walk(root):
            relative = Path(parent).relative_to(root)
            for name in names:
                self._add(root, relative / name)
            self.refused += [
                ((relative / name).as_posix(), "is a link to a folder")
                for name in folders
                if (root / relative / name).is_symlink()
            ]
        self.names.sort()
        self.refused.sort()

    def _add(self, root: Path, name: Path) -> None:
        file = root / name
        if _is_hidden(name.as_posix()):
            return
        if file.is_symlink() and not file.resolve().is_relative_to(root):
            self.refused.append((name.as_posix(), "is a link out of the folder"))
        else:
            self.names.append(name.as_posix())

    def read(self, name: str) -> bytes:
        """See `Files.read`."""
        file = self.path / name
        try:
            if file.stat().st_size > MOST_BYTES:
                raise BadImage(name, "the file is too large")
            return file.read_bytes()
        except OSError as error:
            raise BadImage(name, f"cannot be read ({error.strerror})") from None

    def checksums(self) -> dict[str, str]:
        """See `Files.checksums`."""
        return {}


class Zip:
    """Files in a zip archive."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.refused: list[tuple[str, str]] = []
        try:
            # One handle for all threads: ZipFile locks around each seek and read of it.
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise UserError(f"{path} is not a readable zip archive ({error}). Download it again.") from None
        self._entries = {}
        for entry in self._archive.infolist():
            if entry.is_dir() or _is_hidden(entry.filename):
                continue
            reason = _why_refused(entry)
            if reason:
                self.refused.append((entry.filename, reason))
            else:
                self._entries[entry.filename] = entry
        self.names = sorted(self._entries)

    def read(self, name: str) -> bytes:
        """See `Files.read`."""
        entry = self._entries[name]
        if entry.file_size > MOST_BYTES:
            raise BadImage(name, "the file is too large")
        try:
            return self._archive.read(entry)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise BadImage(name, f"is damaged in the archive ({error})") from None
        except (RuntimeError, NotImplementedError) as error:  # encrypted, or an unknown compression
            raise BadImage(name, f"cannot be unpacked ({error})") from None

    def checksums(self) -> dict[str, str]:
        """See `Files.checksums`."""
        return {self.path.name: checksum(self.path)}


def open_files(path: Path) -> Files:
    """Open a folder or a zip; a folder that holds nothing but one zip is opened as that zip.

    Raises:
        UserError: the path is neither.
    """
    if path.is_dir():
        folder = Folder(path)
        if len(folder.names) == 1 and folder.names[0].endswith(".zip"):
            return Zip(path / folder.names[0])
        return folder
    if path.is_file():
        return Zip(path)
    raise UserError(f"{path} does not exist.")


def checksum(file: Path) -> str:
    """SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def find(files: Files, *candidates: str) -> str | None:
    """The file with the first of these base names that occurs; of several, the one nearest the root."""
    for candidate in candidates:
        matches = [name for name in files.names if name == candidate or name.endswith("/" + candidate)]
        if matches:
            return min(matches, key=lambda name: (name.count("/"), name))
    return None


def read_required(files: Files, name: str) -> bytes:
    """Content of a file that the source cannot do without.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return files.read(name)
    except BadImage as bad:
        raise UserError(f"{files.path}: {bad}. Download it again.") from None


def one_each(names: Sequence[str], bad: list[tuple[str, str]]) -> dict[str, str]:
    """Files by sample id, which is the base name without its suffix.

    Args:
        names: of the files, sorted.
        bad: list to which the second and later files of an id are added.
    """
    by_id: dict[str, str] = {}
    for name in names:
        first = by_id.setdefault(PurePosixPath(name).stem, name)
        if first != name:
            bad.append((name, f"duplicate id: {first} has the same name"))
    return by_id


def read_table(content: bytes, title: str, columns: Sequence[str]) -> pd.DataFrame:
    """A CSV file as a table of (N) rows, in which all columns are str and empty cells are empty strings.

    Args:
        content: of the file.
        title: name of the file, for the error.
        columns: that it must have.

    Raises:
        UserError: it is not a CSV with these columns.
    """
    try:
        table = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{title} is not a CSV file ({error}). Download it again.") from None
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise UserError(
            f"{title} lacks the column {', '.join(missing)}; it has {', '.join(map(str, table.columns))}."
        )
    return table.apply(lambda column: column.str.strip())


def layout_error(files: Files, expected: str) -> UserError:
    """The error for a folder or archive that is not laid out as its owners publish it."""
    shown = "\n".join(f"  {name}" for name in files.names[:SHOWN]) or "  nothing"
    more = f"\n  and {len(files.names) - SHOWN} more" if len(files.names) > SHOWN else ""
    links = f"\n{len(files.refused)} links or unsafe names were ignored." if files.refused else ""
    return UserError(
        f"{files.path} is not laid out as expected.\nExpected: {expected}\nFound:\n{shown}{more}{links}"
    )


def _why_refused(entry: zipfile.ZipInfo) -> str | None:
    parts = entry.filename.replace("\\", "/").split("/")
    if ".." in parts or parts[0] == "" or ":" in parts[0]:
        return "its name leads out of the archive"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "is a link"
    return None


def _is_hidden(name: str) -> bool:
    return any((part[:1] == "." and part != "..") or part == "__MACOSX" for part in name.split("/"))
