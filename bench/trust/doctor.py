"""What this machine is, for a run: every line good, slow or broken, with a way out where it is not good."""

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import psutil

from bench.cells.files import SHARED_STORE, STORE
from bench.machine.interpreter import outside_bounds
from bench.machine.lock import NO_FLOCK
from bench.machine.system import cores
from imssl.device_kind import driver_in_words, gpu_sign, torch_build, torch_uses_gpu

GIB = 2**30
# Below these a run of small images begins to hurt.
ENOUGH_MEMORY, ENOUGH_DISK = 4 * GIB, 10 * GIB
LITTLE_MEMORY, LITTLE_DISK = 1 * GIB, 1 * GIB
INSTALL_BROWSER = "only for make test: playwright install chromium"
LOCAL_FILE_SYSTEMS = {"ext4", "ext3", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "apfs", "f2fs"}

State = Literal["good", "slow", "broken"]


@dataclass(frozen=True)
class Condition:
    """One line of the doctor.

    Attributes:
        about: what was looked at.
        state: ``slow`` works, but costs time or is missing for some purpose; ``broken`` stops a run.
        found: what is there.
        way_out: what to do; empty where the state is good.
    """

    about: str
    state: State
    found: str
    way_out: str = ""


def examine(folder: Path) -> Iterator[Condition]:
    """Look at the machine from the folder of a project, or from any other.

    Args:
        folder: where the cache lies or is to lie, and the store but for IMSSL_BENCH_STORE; nothing is left
            in it.
    """
    looks: tuple[Callable[[], Condition], ...] = (
        _python, _packages, _torch, _cores, _memory,
        lambda: _disk(folder), lambda: _file_system(folder), lambda: _locks_and_renames(folder),
        _dvc, _git, _browser,
    )  # fmt: skip
    for look in looks:
        yield look()
    store = store_on_another_disk(folder)
    if store is not None:
        yield replace(_disk(store), about="disk of the store")
        yield replace(_file_system(store), about="file system of the store")


def store_on_another_disk(folder: Path) -> Path | None:
    """The folder of IMSSL_BENCH_STORE, or that above it; None where it is on the disk of the project's."""
    if SHARED_STORE == STORE:
        return None
    place = next((each for each in (SHARED_STORE, *SHARED_STORE.parents) if each.is_dir()), folder)
    return None if place.stat().st_dev == folder.stat().st_dev else place


def _python() -> Condition:
    found = f"{platform.python_version()} ({platform.system()} {platform.machine()}), {sys.executable}"
    if sys.platform == "win32":
        return Condition("Python", "broken", found, "use WSL 2 or the container")
    return Condition("Python", "good", found)


def _packages() -> Condition:
    """Whether what is installed is within the bounds of this suite."""
    outside = outside_bounds()
    if outside:
        return Condition(
            "packages", "broken", "; ".join(outside), "make setup, or pip install these versions"
        )
    return Condition("packages", "good", "all within the bounds of imssl-bench")


def _torch() -> Condition:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Condition("torch", "broken", str(error).splitlines()[0], "make setup")
    if torch_uses_gpu():
        return Condition("torch", "good", f"{torch_build()}; uses {torch.cuda.get_device_name()}")
    sign = gpu_sign()
    if sign is not None:
        way_out = "the build for this driver, a newer driver, or hardware.device: cpu"
        found = f"{torch_build()}; cannot use the GPU of this machine ({sign}; {driver_in_words()})"
        return Condition("torch", "broken", found, way_out)
    return Condition("torch", "good", f"{torch_build()}; no GPU here, so it uses the CPU")


def _cores() -> Condition:
    usable, present = cores(), os.cpu_count() or 1
    load = os.getloadavg()[0]
    found = f"{usable} of {present} for this process, load {load:.1f}"
    if usable == 1:
        return Condition("cores", "slow", found, "cells run one after another: give the process more cores")
    if load > present:
        return Condition("cores", "slow", found, "other programs want them: times will not be comparable")
    return Condition("cores", "good", found)


def _memory() -> Condition:
    memory = psutil.virtual_memory()
    found = f"{memory.available / GIB:.1f} GiB free of {memory.total / GIB:.1f} GiB"
    way_out = "end other programs, or run fewer cells at a time (IMSSL_BENCH_WORKERS=1)"
    if memory.available < LITTLE_MEMORY:
        return Condition("memory", "broken", found, way_out)
    return Condition("memory", "slow" if memory.available < ENOUGH_MEMORY else "good", found,
                   way_out if memory.available < ENOUGH_MEMORY else "")  # fmt: skip


def _disk(folder: Path) -> Condition:
    free = shutil.disk_usage(folder).free
    found = f"{free / GIB:.1f} GiB free in {folder}"
    if free >= ENOUGH_DISK:
        return Condition("disk", "good", found)
    way_out = "bench clean --dry-run shows what can be freed"
    return Condition("disk", "broken" if free < LITTLE_DISK else "slow", found, way_out)


def _file_system(folder: Path) -> Condition:
    mounts = [disk for disk in psutil.disk_partitions(all=True) if folder.is_relative_to(disk.mountpoint)]
    if not mounts:
        return Condition("file system", "good", "not known")
    mount = max(mounts, key=lambda disk: len(disk.mountpoint))
    if mount.fstype in LOCAL_FILE_SYSTEMS:
        return Condition("file system", "good", mount.fstype)
    way_out = "a network file system may be slow; set IMSSL_BENCH_STORE to a local folder if it is"
    return Condition("file system", "slow", mount.fstype, way_out)


def _locks_and_renames(folder: Path) -> Condition:
    """Whether a second holder is kept out of a lock, and a rename puts one file in the place of another."""
    try:
        with tempfile.TemporaryDirectory(prefix=".imssl-bench-doctor-", dir=folder) as name:
            place = Path(name)
            keeps_out = _lock_keeps_others_out(place / "a")
            (place / "b").touch()
            (place / "a").replace(place / "b")
    except OSError as error:
        found, way_out = f"{error.strerror} in {folder}", "make the folder writable for this user"
        return Condition("locks and renames", "broken", found, way_out)
    if keeps_out is None:
        found = "no flock here; files of its holders stand in for the lock"
        way_out = "begin one command after another, or use a local folder"
        return Condition("locks and renames", "slow", found, way_out)
    if not keeps_out:
        way_out = "run one command at a time, or use a local folder"
        return Condition("locks and renames", "broken", "a lock keeps nobody out", way_out)
    return Condition("locks and renames", "good", "hold here")


def _lock_keeps_others_out(file: Path) -> bool | None:
    """None where the file system has no locks."""
    with file.open("w") as first, file.open("w") as second:
        try:
            fcntl.flock(first, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno in NO_FLOCK:
                return None
            raise
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _dvc() -> Condition:
    try:
        found = f"DVC {version('dvc')}"
    except PackageNotFoundError:
        return Condition("DVC", "broken", "not installed", "make setup")
    beside = Path(sys.executable).with_name("dvc")
    if shutil.which("dvc") is None:
        way_out = f"activate the environment, or use bench repro; it is {beside}"
        return Condition("DVC", "slow", f"{found}, not on the path", way_out)
    return Condition("DVC", "good", found)


def _git() -> Condition:
    if shutil.which("git") is None:
        return Condition(
            "git", "slow", "not there", "install it, so that results name the commit they come from"
        )
    ended = subprocess.run(["git", "--version"], capture_output=True, text=True, check=False)
    return Condition("git", "good", ended.stdout.strip().removeprefix("git version "))


def _browser() -> Condition:
    """The tests of the pages need one; nothing else does."""
    try:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            path = Path(playwright.chromium.executable_path)
    except Exception as error:  # whatever a driver that does not fit this system raises
        return Condition("browser for tests", "slow", type(error).__name__, INSTALL_BROWSER)
    if path.is_file():
        return Condition("browser for tests", "good", "Chromium of Playwright")
    return Condition("browser for tests", "slow", "not installed", INSTALL_BROWSER)
