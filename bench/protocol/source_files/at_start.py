"""The source files as they were when this process began, before it imported any of them.

A file that is saved between its import and its fingerprint would keep the old code's numbers under the new
code's key. So the files are read first, fingerprints are taken of what was read then, and before a cell is
kept it is checked that none of its files has been saved since. Nothing here imports the project's modules.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import bench
import imssl
from bench.protocol.source_files.places import own_method_files

PACKAGES = (Path(imssl.__file__).parent, Path(bench.__file__).parent)


@dataclass(frozen=True)
class SourceFile:
    """A source file as it was read.

    Attributes:
        content: its bytes.
        state: modification time in ns, size in bytes and inode, taken before it was read. A file that was
            changed and put back has another one, though its content is the same.
    """

    content: bytes
    state: tuple[int, int, int]


@cache
def sources_at_start() -> dict[Path, SourceFile]:
    """Every Python file of both packages, and the project's own method files.

    The first call reads them, and must come before the imports.
    """
    return {file: _read(file) for file in sorted(_files())}


def suite_checksum() -> str:
    """SHA-256 of both packages as they lie on disk, templates and profiles included."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        for file in sorted(path for path in package.rglob("*") if path.is_file()):
            if file.suffix != ".pyc":
                name = file.relative_to(package.parent).as_posix()
                digest.update(f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def are_as_at_start() -> bool:
    """Whether no source file has been saved, removed or added since this process began."""
    now = _files()
    return set(now) == sources_at_start().keys() and not saved_since_start(now)


def saved_since_start(files: Iterable[Path]) -> list[Path]:
    """Which of some source files have been saved, removed or added since this process began."""
    at_start = sources_at_start()
    return [file for file in files if file not in at_start or _state(file) != at_start[file].state]


def _files() -> list[Path]:
    return [file for package in PACKAGES for file in package.rglob("*.py")] + own_method_files()


def _read(file: Path) -> SourceFile:
    state = _state(file)
    return SourceFile(file.read_bytes(), state or (0, 0, 0))


def _state(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return (status.st_mtime_ns, status.st_size, status.st_ino)
