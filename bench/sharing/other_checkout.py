"""The folder of somebody else's results: a checkout on this machine, or one fetched from git and DVC."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.cells.files import RESULTS, STORE
from imssl.errors import UserError
from imssl.paths import expanded

LOCAL_CONFIG = Path(".dvc/config.local")


@contextmanager
def other_checkout(where: str) -> Iterator[Path]:
    """A folder with the results of another checkout; one that is fetched is removed afterwards.

    Args:
        where: a folder; a commit or branch that git knows here, such as ``origin/anna``; or the address of a
            repository, with ``@`` and a commit or branch behind it where that is not its default one.

    Raises:
        UserError: it is none of these, holds no results, or they cannot be fetched.
    """
    folder = folder_named(where)
    if folder is not None:
        if folder == Path.cwd().resolve():
            raise UserError(f"{where} is this checkout; name another one.")
        yield _with_results(folder, where)
        return
    with tempfile.TemporaryDirectory(prefix="imssl-bench-merge-") as temporary:
        fetched = Path(temporary) / "checkout"
        address, revision = _address(where)
        _run(["git", "clone", "--quiet", "--no-checkout", "--", address, str(fetched)], where)
        commit = _commit(f"origin/{revision}", fetched) or _commit(revision, fetched)
        if not commit:
            raise UserError(f"{where}: there is no commit or branch {revision} in {address}")
        _run(["git", "-C", str(fetched), "checkout", "--quiet", "--detach", commit], where)
        if LOCAL_CONFIG.is_file():  # keys of the remote, which no commit holds
            shutil.copy(LOCAL_CONFIG, fetched / LOCAL_CONFIG)
        dvc = [sys.executable, "-m", "dvc"]
        _run([*dvc, "cache", "dir", "--quiet", "--local", str(Path(".dvc/cache").resolve())], where, fetched)
        # What a remote lacks is reported cell by cell: the rest is of use.
        _run([*dvc, "pull", "--quiet", "--allow-missing"], where, fetched)
        yield _with_results(fetched, where)


def folder_named(where: str) -> Path | None:
    """The absolute folder that a text names from the current one; None where it names none."""
    try:
        folder = expanded(where)
    except UserError:  # a $ or ~ that is part of a branch's name or of an address
        return None
    return folder.resolve() if folder.is_dir() else None


def _address(where: str) -> tuple[str, str]:
    """The repository to clone, and the revision to check out there."""
    here = _commit(where, Path())
    if here:
        return str(Path.cwd()), here
    address, at, revision = where.rpartition("@")
    # The @ of git@host:path belongs to the address.
    if at and ":" not in revision and _is_address(address):
        return address, revision
    if not _is_address(where):
        raise UserError(
            f"{where} is no folder, no commit or branch that git knows here (git fetch brings in those of a "
            "remote), and no address of a repository."
        )
    return where, "HEAD"


def _is_address(text: str) -> bool:
    return "://" in text or (":" in text and "@" in text) or Path(text).is_dir()


def _commit(revision: str, repository: Path) -> str:
    """The hash of a revision; empty where a repository has none of this name."""
    command = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"]
    ended = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    return ended.stdout.strip() if ended.returncode == 0 else ""


def _run(command: Sequence[str], where: str, folder: Path | None = None) -> None:
    # ext:: and the like would run a program that the address names.
    safe = {"GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh", "GIT_TERMINAL_PROMPT": "0"}
    ended = subprocess.run(
        command, cwd=folder, env=os.environ | safe, capture_output=True, text=True, check=False
    )
    if ended.returncode != 0:
        what = " ".join(Path(command[0]).name if i == 0 else part for i, part in enumerate(command[:4]))
        raise UserError(f"{where} could not be fetched ({what}): {ended.stderr.strip()[-500:]}")


def _with_results(folder: Path, where: str) -> Path:
    if not (folder / RESULTS).is_dir() and not (folder / STORE / "cells").is_dir():
        raise UserError(
            f"{where} holds no results: no {RESULTS}/ and no {STORE}/cells/. If it is a commit, its dvc.lock "
            "must be in it, and what that names must be pushed: dvc push"
        )
    return folder
