"""Notices, and stops, what a method file does beyond arithmetic: files, network, processes, labels.

It uses Python's audit hooks, so it sees what goes through Python, and what
:mod:`bench.conformance.surroundings.overheard` makes heard. It shows an author what would make a comparison
unfair or a run depend on the machine; it is no protection against anybody who means harm.
"""

import functools
import inspect
import os
import site
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

import imssl
from bench.conformance.surroundings.overheard import FILE_EVENT, FILES_EVENT, LABELS_EVENT
from bench.protocol.source_files.places import own_methods

HERE = str(Path(__file__).parent)
# A library that looks for the lines of a traceback reads the suite's code.
SUITE = (str(Path(imssl.__file__).parent.resolve()), str(Path(__file__).resolve().parents[2]))
TORCH = str(Path(torch.__file__).parent)
STANDARD_LIBRARY = tuple(
    {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), str(Path(os.__file__).parent)}
)
INSTALLED = tuple(
    {
        *site.getsitepackages(),
        *(str(Path(path).resolve()) for path in site.getsitepackages()),
        *(sysconfig.get_path(kind) for kind in ("purelib", "platlib")),
    }
)
# Reading here is a library's work: its code and data, and descriptions of the machine.
LIBRARIES = tuple({*STANDARD_LIBRARY, *INSTALLED, str(Path(sys.base_prefix).resolve() / "lib")})
MACHINE = ("/proc/", "/sys/", "/etc/ld.so", "/dev/null", "/dev/urandom", "/dev/random", "/dev/zero",
           "/dev/nvidia", "/dev/dri", "/dev/kfd")  # fmt: skip
CODE = {".py", ".pyc", ".so"}
WRITING = set("wax+")
WRITING_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT

# Audit events (docs.python.org, "Audit events table") by the kind that a message names. These are the
# method's doing also where a library does them for it.
ON_ITS_BEHALF = {
    "process": ("subprocess.", "os.system", "os.fork", "os.posix_spawn", "os.exec", "os.spawn", "os.kill",
                "pty.spawn"),
    "network": ("socket.", "urllib.", "http.", "ftplib.", "smtplib.", "poplib.", "imaplib.", "webbrowser."),
    "file": ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate",
             "os.chmod", "os.chown", "os.chdir", "os.utime", "shutil.", "tempfile.", "sqlite3.", FILES_EVENT),
}  # fmt: skip
# And these only where its own lines do them: torch and other libraries start threads, load machine code and
# look at frames for their own ends.
BY_ITSELF = {
    "file": ("os.listdir", "os.scandir", "glob.", "mmap."),
    "process": ("_thread.start_new_thread", "signal."),
    "machine code": ("ctypes.",),
    "environment": ("os.putenv", "os.unsetenv"),
    "other code's variables": ("sys._current_frames", "sys.settrace", "sys.setprofile", "sys.addaudithook",
                               "gc."),
    "labels or the suite": (LABELS_EVENT,),
}  # fmt: skip
# Named tuples, logging and tracebacks look at frames too: these count where the method does it in its own
# line, or asks the module for it.
FRAMES = {"sys._getframe": (), "object.__getattr__": ("tb_frame", "gi_frame")}
FOR_FRAMES = inspect.__file__
FILE_EVENTS = ("open", FILE_EVENT)
WATCHED = (
    *(event for events in (*ON_ITS_BEHALF.values(), *BY_ITSELF.values()) for event in events),
    *FILE_EVENTS,
    *FRAMES,
)


class Watch:
    """Notes and refuses what a method file does beyond arithmetic, inside :meth:`watching`.

    Args:
        file: name under which the method's code was compiled.

    Attributes:
        seen: descriptions of what it did, each once.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.seen: list[str] = []
        self._suite = (*SUITE, str(own_methods()))
        self._here = threading.local()  # whether this thread is looking at an event, which makes some itself
        _listen()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch while the block runs."""
        _watching.append(self)
        try:
            yield
        finally:
            _watching.remove(self)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Watch nothing in the block, nor in a process that is forked in it."""
        was_watching = self in _watching
        if was_watching:
            _watching.remove(self)
        try:
            yield
        finally:
            if was_watching:
                _watching.append(self)

    def notice(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Look at an audit event of this process.

        Raises:
            PermissionError: it is the method's doing, and no arithmetic.
        """
        if getattr(self._here, "looking", False):
            return
        self._here.looking = True
        try:
            # Two frames of this module lie between the event and what has caused it.
            caller = Caller(self.file, sys._getframe(2), event)
            description = _described(event, arguments, caller, self._suite)
        finally:
            self._here.looking = False
        if description is None:
            return
        if description not in self.seen:
            self.seen.append(description)
        raise PermissionError(f"a method may not do this: {description}")


# Python cannot take an audit hook away again, and calls every one for each event: one serves all watches.
_watching: list[Watch] = []


@functools.cache
def _listen() -> None:
    sys.addaudithook(_on_event)


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching or not event.startswith(WATCHED):
        return
    if event in FRAMES and FRAMES[event] and arguments[1] not in FRAMES[event]:
        return
    for watch in list(_watching):
        watch.notice(event, arguments)


class Caller:
    """Who is behind an event, as the frames of the thread show it.

    Args:
        file: of the method.
        frame: the innermost one.
        event: for access to the suite's modules it does not matter whether an import is in between.

    Attributes:
        file: of the method.
        is_method: whether a frame of the method's file is behind it, with no import in between: a library
            that is loading itself does so for itself, whoever asked for it.
        directly: whether only the standard library stands between.
        looks_at_frames: whether its own line is the innermost one, or one of the module inspect.
    """

    def __init__(self, file: str, frame: FrameType | None, event: str) -> None:
        self.file = file
        library = ""
        innermost = frame.f_code.co_filename if frame is not None else ""
        self.looks_at_frames = innermost in (file, FOR_FRAMES)
        self.is_method = self.directly = False
        has_frames = False
        while frame is not None:
            name = frame.f_code.co_filename
            if name == file:
                self.is_method, self.directly = True, not library
                return
            if name.startswith("<frozen importlib") and event != LABELS_EVENT:
                return
            if not name.startswith(HERE):
                has_frames = True
                if not library and not _is_standard_library(name):
                    library = name
            frame = frame.f_back
        # What a method has handed to torch, such as a hook of a tensor, is called by torch with none of the
        # method's frames around it, and on a GPU in a thread of its own.
        self.is_method = not has_frames or library.startswith(TORCH)


def _is_standard_library(name: str) -> bool:
    return name.startswith("<") or (
        name.startswith(STANDARD_LIBRARY) and "site-packages" not in name and "dist-packages" not in name
    )


def _described(event: str, arguments: tuple[Any, ...], caller: Caller, suite: tuple[str, ...]) -> str | None:
    """A description of an audit event for the reader; None if it is harmless, or not the method's doing."""
    if not caller.is_method:
        return None
    if event in FILE_EVENTS:
        return _file_described(arguments, caller, suite)
    for kind, events in ON_ITS_BEHALF.items():
        if event.startswith(events):
            return _shown(kind, event, arguments)
    if not caller.directly:
        return None
    if event in FRAMES:
        means_frames = not FRAMES[event] or arguments[1] in FRAMES[event]
        return f"other code's variables: {event}" if means_frames and caller.looks_at_frames else None
    return next(
        (_shown(kind, event, arguments) for kind, events in BY_ITSELF.items() if event.startswith(events)),
        None,
    )


def _shown(kind: str, event: str, arguments: tuple[Any, ...]) -> str:
    shown = next((os.fsdecode(value) for value in arguments if isinstance(value, str | bytes | Path)), "")
    name = "" if event in (LABELS_EVENT, FILES_EVENT) else f"{event} "
    return f"{kind}: {name}{shown}".strip()[:200]


def _file_described(arguments: tuple[Any, ...], caller: Caller, suite: tuple[str, ...]) -> str | None:
    place, mode, flags = arguments[:3]
    if isinstance(place, int) or place is None:
        return None
    path = os.fsdecode(place)
    if path == "/dev/null":
        return None
    if WRITING & set(mode or "") or (mode is None and (flags or 0) & WRITING_FLAGS):
        return f"file: writes {path}"
    resolved = Path(path).resolve()
    if resolved.suffix in CODE and (_lies_in(resolved, (*LIBRARIES, *suite)) or path == caller.file):
        return None
    # Not even descriptions of the machine: a run must not depend on them.
    if caller.directly or not (_lies_in(resolved, LIBRARIES) or str(resolved).startswith(MACHINE)):
        return f"file: reads {path}"
    return None


def _lies_in(path: Path, folders: tuple[str, ...]) -> bool:
    return str(path).startswith(tuple(f"{folder}{os.sep}" for folder in folders))
