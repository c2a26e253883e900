"""What a project keeps beside its results: how much, how old, and what of it nothing needs any more."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from bench.cells import store
from bench.cells.files import DRAWS, FEATURES, SHARED_STORE, STORE
from bench.cells.fingerprints import KNOWN_SOURCES
from bench.cells.keys import Keys
from bench.cells.records import read_record
from bench.protocol.cell import all_cells
from bench.protocol.protocol import Protocol
from imssl.errors import UserError

DAY = 86_400.0
DVC_CACHE = Path(".dvc/cache/files/md5")
# Draws of the report and features of encoders are computed again where they are gone; what nothing has read
# for so long is of no use.
UNREAD_DAYS = 30


@dataclass(frozen=True)
class Stored:
    """A file or folder that is kept.

    Attributes:
        path: of it.
        bytes: that it takes.
        days: since it was last written.
        is_needed: whether a cell, a commit or a running process needs it.
    """

    path: Path
    bytes: int
    days: float
    is_needed: bool


@dataclass(frozen=True)
class Holding:
    """Things of one kind that are kept.

    Attributes:
        name: of the kind.
        lost: what is gone when those that nothing needs are freed.
        stored: all of them.
    """

    name: str
    lost: str
    stored: list[Stored]

    def to_free(self, older_than_days: float) -> list[Stored]:
        """Those that nothing needs and that are old enough."""
        return [item for item in self.stored if not item.is_needed and item.days >= older_than_days]


def holdings(protocol: Protocol) -> list[Holding]:
    """All that is kept, by kind; kinds of which there is nothing are left out.

    Args:
        protocol: whose cells are needed.

    Raises:
        UserError: a method's row is not right, so that nobody knows which cells are needed.
    """
    keys = _needed_keys(protocol)
    kinds = [
        Holding("finished cells", "results of earlier settings or code, should you go back", _cells(keys)),
        Holding(
            "checkpoints",
            "the start of cells that are finished or of other settings",
            _checkpoints(keys, protocol),
        ),
        Holding("unfinished folders", "what killed processes have left", _unfinished()),
        Holding("features of encoders", "a pass over the images when next evaluated", _read_lately(FEATURES)),
        Holding("draws of the report", "seconds of the next report", _read_lately(DRAWS)),
        Holding("notes on code and scripts", "nothing", _notes()),
        Holding("cache of DVC", "outputs that no commit, experiment or dvc.lock names", _dvc_cache()),
    ]
    return [holding for holding in kinds if holding.stored]


def free(holding: Holding, older_than_days: float) -> int:
    """Free what nothing needs of a kind, and return how many bytes that were.

    Raises:
        UserError: DVC cannot clear its cache.
    """
    freed = holding.to_free(older_than_days)
    if freed and holding.name == "cache of DVC":
        _clear_dvc_cache()
        return sum(item.bytes for item in freed if not item.path.exists())
    for item in freed:
        if item.path.parent == store.WORK:
            store.remove_work(item.path)
        elif item.path.is_dir():
            # Renamed first: a half-deleted cell must not be found under its key.
            aside = item.path.with_name(item.path.name + ".removed")
            item.path.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            item.path.unlink(missing_ok=True)
    return sum(item.bytes for item in freed)


def _needed_keys(protocol: Protocol) -> dict[str, set[str]]:
    """Keys of the protocol's cells, by data set; without any where the data set is not prepared."""
    keys, needed = Keys(protocol), dict[str, set[str]]()
    for cell in all_cells(protocol):
        with suppress(UserError):
            key = keys.key(cell)
            needed.setdefault(cell.dataset, set()).add(key)
    return needed


def _others_may_need(path: Path) -> bool:
    return SHARED_STORE != STORE and path.is_relative_to(SHARED_STORE)


def _cells(needed: dict[str, set[str]]) -> list[Stored]:
    wanted = set[str]().union(*needed.values())

    def is_needed(folder: Path) -> bool:
        if folder.name in wanted or _others_may_need(folder):
            return True
        try:
            record = read_record(folder)
        except UserError:
            return False
        # Of a data set that is not prepared nobody can say which cells are needed.
        return record is not None and record.dataset not in needed

    return _stored(_in_stores("cells/*/*"), is_needed)


def _checkpoints(needed: dict[str, set[str]], protocol: Protocol) -> list[Stored]:
    wanted = set[str]().union(*needed.values())
    finished = {folder.name for folder in _in_stores("cells/*/*")}
    # A checkpoint does not say of which data set it is.
    is_unknown = not needed.keys() >= protocol.datasets.keys()

    def is_needed(folder: Path) -> bool:
        may_be_wanted = is_unknown or folder.name in wanted
        return _others_may_need(folder) or (may_be_wanted and folder.name not in finished)

    return _stored(_in_stores("checkpoints/*"), is_needed)


def _in_stores(pattern: str) -> list[Path]:
    """What lies in the store that is used, and in the checkout's own where that is another one."""
    return [path for folder in {SHARED_STORE, STORE} for path in folder.glob(pattern)]


def _unfinished() -> list[Stored]:
    folders = (path for path in store.WORK.glob("*") if path.is_dir())
    return _stored(folders, lambda folder: not store.is_left_behind(folder))


def _read_lately(folder: Path) -> list[Stored]:
    return _stored(folder.glob("*"), lambda file: time.time() - file.stat().st_atime < UNREAD_DAYS * DAY)


def _notes() -> list[Stored]:
    of_this_version = {KNOWN_SOURCES.name, f"vega-of-vl-convert-{version('vl-convert-python')}.js"}
    paths = [*(STORE / "scripts").glob("*"), KNOWN_SOURCES, STORE / "imports.json"]
    return _stored((path for path in paths if path.exists()), lambda file: file.name in of_this_version)


def _stored(paths: Iterable[Path], is_needed: Callable[[Path], bool]) -> list[Stored]:
    stored = []
    for path in sorted(paths):
        with suppress(FileNotFoundError):  # what a process that has just ended takes with it
            files = [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]
            states = [file.lstat() for file in files]
            size = sum(state.st_blocks * 512 for state in states)
            days = (time.time() - max(state.st_mtime for state in states)) / DAY
            stored.append(Stored(path, size, max(0.0, days), is_needed(path)))
    return stored


def _dvc_cache() -> list[Stored]:
    if not DVC_CACHE.is_dir():
        return []
    used = set(_used_by_dvc())
    return _stored(DVC_CACHE.glob("*/*"), lambda file: file.parent.name + file.name in used)


def _used_by_dvc() -> Iterator[str]:
    """Checksums of what dvc.lock, a commit or an experiment names, and of the files in such folders."""
    # Imported here: DVC takes a second, and nothing else of this command needs it.
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    in_git = Path(".git").exists()
    try:
        with Repo(".") as repo:
            named = repo.used_objs(all_commits=in_git, all_experiments=in_git, force=True)
    except DvcException as error:
        raise UserError(f"DVC cannot say what it needs: {error}") from None
    for checksum in {str(item.value) for items in named.values() for item in items}:
        yield checksum
        listing = DVC_CACHE / checksum[:2] / checksum[2:]
        if checksum.endswith(".dir") and listing.is_file():
            with suppress(ValueError, KeyError, TypeError):
                yield from (str(entry["md5"]) for entry in json.loads(listing.read_text(encoding="utf-8")))


def _clear_dvc_cache() -> None:
    everywhere = ["--all-commits", "--all-experiments"] if Path(".git").exists() else []
    ended = subprocess.run(
        [sys.executable, "-m", "dvc", "gc", "--workspace", *everywhere, "--force", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode != 0:
        raise UserError(f"DVC could not clear its cache: {ended.stderr.strip()}")
