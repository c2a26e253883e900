"""The raw files of a data set: names, sizes and hashes, so that a change of one makes its data set stale.

A file is hashed once. What it was then is remembered under .bench/ with its size, time and inode, and as long
as these stay the same its content is taken to be the same; DVC and Git rely on this too.
"""

import hashlib
import json
import os
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.cells.files import STORE
from imssl.datasets.files import located
from imssl.datasets.medmnist import file_name
from imssl.datasets.walk import walk
from imssl.durable import write_text
from imssl.errors import UserError
from imssl.regular_file import checksum, why_not_regular
from imssl.settings.datasets import DatasetSettings, MedmnistSettings

# What is remembered of files, and, by the stage `inputs`, of what each data set was prepared from.
NOTES = STORE / "raw"
# Key in the data card under which the manifest's hash stands.
CARD_KEY = "raw files"
THREADS = 8
UNREADABLE = "unreadable"
# Nanoseconds after which a file counts as written.
SETTLED = 2_000_000_000


@dataclass(frozen=True)
class RawFile:
    """A raw file.

    Attributes:
        size: in bytes.
        sha256: of its content; ``unreadable`` if it cannot be read.
    """

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """All raw files of a data set.

    Attributes:
        files: by name: relative to the data set's folder, or, for a file that lies elsewhere, its key and its
            path as params.yaml has them, such as ``split_file: lists/split.csv``.
    """

    files: Mapping[str, RawFile]

    @property
    def sha256(self) -> str:
        """One hash over names, sizes and contents."""
        digest = hashlib.sha256()
        for name, file in self.files.items():
            digest.update(f"{file.sha256} {file.size} {name}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def summary(self) -> dict[str, str]:
        """What the stage ``data`` depends on: the hash of all, which the data card holds too."""
        return {"sha256": self.sha256}


@dataclass(frozen=True)
class Changes:
    """What has changed between two manifests: names of files, sorted."""

    added: list[str]
    removed: list[str]
    changed: list[str]


def manifest_of(settings: DatasetSettings) -> Manifest | None:
    """The raw files of a data set as they are now; None if it is made from a seed, or they are not there.

    Raises:
        UserError: a folder cannot be read.
    """
    written = getattr(settings, "path", None)
    if written is None:
        return None
    path = located(written)
    if path.is_dir():
        names = list(walk(path, [located(folder) for folder in settings.follow_links]).files)
        if isinstance(settings, MedmnistSettings):  # other sets and sizes of MedMNIST may lie beside it
            names = [name for name in names if name == file_name(settings.flag, settings.resolution)]
        files = _hashed(path, names)
    elif path.is_file():
        files = _hashed(path.parent, [path.name])
    else:
        return None
    for name, file in _elsewhere(settings, files):
        files[name] = _hashed(file.parent, [file.name])[file.name]
    return Manifest(dict(sorted(files.items()))) if files else None


def _elsewhere(settings: DatasetSettings, below: Collection[str]) -> list[tuple[str, Path]]:
    """Names and paths of the files of a data set that do not lie below its path.

    Args:
        settings: of the data set.
        below: names of those that do; a table is looked for among them first, as when it is read.
    """
    split_file, table = (getattr(settings, key, None) for key in ("split_file", "table"))
    named = {"split_file": split_file, "table": None if table in below else table}
    files = [(f"{key}: {written}", located(written)) for key, written in named.items() if written is not None]
    return [(name, file) for name, file in files if file.is_file()]


def _hashed(root: Path, names: Sequence[str]) -> dict[str, RawFile]:
    """The files with their hashes; those that are as they were remembered are not read."""
    memory = NOTES / f"{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}.json"
    known = _read_memory(memory)
    identities = {name: _identity(root / name) for name in names}
    new = [name for name in names if known.get(name, [])[:3] != [*identities[name]]]
    # A file may be written to again within the tick of its clock, so what is younger is not remembered.
    youngest = time.time_ns() - SETTLED
    with ThreadPoolExecutor(THREADS) as pool:
        hashes = dict(zip(new, pool.map(lambda name: _hash(root / name), new), strict=True))
    settled: dict[str, list[int | str]] = {
        name: [*identities[name], sha256]
        for name, sha256 in hashes.items()
        if sha256 != UNREADABLE and identities[name][1] < youngest
    }
    if settled:
        write_text(memory, json.dumps(known | settled))
    return {
        name: RawFile(identities[name][0], hashes[name] if name in hashes else str(known[name][3]))
        for name in names
    }


def _identity(file: Path) -> tuple[int, int, int]:
    """Size, time of the last change, and inode; zeros if the file is gone by now."""
    try:
        status = file.stat()
    except OSError:
        return 0, 0, 0
    return status.st_size, status.st_mtime_ns, status.st_ino


def _hash(file: Path) -> str:
    try:
        return UNREADABLE if why_not_regular(file.stat()) else checksum(file)
    except OSError:
        return UNREADABLE


def _read_memory(file: Path) -> dict[str, list[int | str]]:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}  # nothing is lost but the time to hash the files again
    return content if isinstance(content, dict) else {}


def keep(manifest: Manifest) -> None:
    """Keep a manifest under its hash, so that later changes can be told by name."""
    file = _kept(manifest.sha256)
    if not file.exists():
        content = {name: [raw.size, raw.sha256] for name, raw in manifest.files.items()}
        write_text(file, json.dumps(content, ensure_ascii=True))


def kept_manifest(sha256: str) -> Manifest | None:
    """A manifest that was kept; None if it was made in another checkout."""
    try:
        content = json.loads(_kept(sha256).read_bytes())
        return Manifest({name: RawFile(*entry) for name, entry in content.items()})
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _kept(sha256: str) -> Path:
    return NOTES / "kept" / f"{sha256}.json"


def changes_between(before: Manifest, now: Manifest) -> Changes:
    """What has been added, removed and changed."""
    old, new = before.files, now.files
    return Changes(
        added=sorted(new.keys() - old.keys()),
        removed=sorted(old.keys() - new.keys()),
        changed=sorted(name for name in old.keys() & new.keys() if old[name] != new[name]),
    )


def raw_summary(settings: DatasetSettings, before: dict[str, str] | None) -> dict[str, str] | None:
    """What the stage ``data`` depends on besides code and settings; None if there are no raw files.

    Args:
        settings: of the data set.
        before: what it depended on when the stage ``inputs`` ran last. It stays where the raw files are not
            there now, for example on a disk that is not mounted: what was prepared from them is still right.
    """
    try:
        manifest = manifest_of(settings)
    except UserError:
        manifest = None
    return before if manifest is None else manifest.summary()
