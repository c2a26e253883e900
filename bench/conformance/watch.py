"""Notices, and stops, what a method file does beyond arithmetic: files, network, processes.

It is Python's audit hook, so it sees what goes through Python. It tells an honest author what would make a
comparison unfair or a run depend on the machine; it does not hold anybody back who means harm.
"""

import os
import site
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import imssl

# Reading there is a library at work: code and its data, devices, the machine's description.
LIBRARIES = tuple(
    {
        *(str(Path(path).resolve()) for path in sysconfig.get_paths().values()),
        *(str(Path(path).resolve()) for path in site.getsitepackages()),
        str(Path(sys.base_prefix).resolve() / "lib"),
        str(Path(imssl.__file__).parent.resolve()),
        "/proc",
        "/sys",
        "/dev",
    }
)
WRITING = set("wax+")
WRITING_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT
# Audit events (docs.python.org, "Audit events table") by what they are to the reader.
KINDS = {
    "process": (
        "subprocess.", "os.system", "os.fork", "os.posix_spawn", "os.exec", "os.spawn", "os.kill",
        "pty.spawn", "_thread.start_new_thread", "signal.",
    ),
    "network": (
        "socket.", "urllib.", "http.", "ftplib.", "smtplib.", "poplib.", "imaplib.", "webbrowser.",
    ),
    "file": (
        "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod",
        "os.chown", "os.chdir", "os.listdir", "os.scandir", "os.utime", "shutil.", "tempfile.", "glob.",
        "sqlite3.", "mmap.",
    ),
    "machine code": ("ctypes.",),
    "environment": ("os.putenv", "os.unsetenv"),
}  # fmt: skip


class Watch:
    """What a method file did, noted from :meth:`watching` on.

    Args:
        file: name under which the method's code was compiled.

    Attributes:
        seen: one text per kind and thing, each once.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.seen: list[str] = []
        self._active = False
        sys.addaudithook(self._hear)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note and refuse while the block runs."""
        self._active = True
        try:
            yield
        finally:
            self._active = False

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._active:
            return
        found = _described(event, arguments, self.file)
        if found is None or not self._is_the_methods():
            return
        if found not in self.seen:
            self.seen.append(found)
        raise PermissionError(f"a method may not do this: {found}")

    def _is_the_methods(self) -> bool:
        # An import on the way means that a library is loading itself, whoever asked for it.
        frame = sys._getframe(2)
        while frame is not None:
            name = frame.f_code.co_filename
            if name == self.file:
                return True
            if name.startswith("<frozen importlib"):
                return False
            frame = frame.f_back  # type: ignore[assignment]
        return False


def _described(event: str, arguments: tuple[Any, ...], own_file: str) -> str | None:
    """What an event is to the reader; None where it is nobody's business."""
    if event == "open":
        path, mode, flags = str(arguments[0]), arguments[1], arguments[2]
        if isinstance(arguments[0], int) or path in ("/dev/null", own_file):
            return None
        if WRITING & set(mode or "") or (mode is None and flags & WRITING_FLAGS):
            return f"file: writes {path}"
        resolved = str(Path(path).resolve())
        is_library = any(resolved == folder or resolved.startswith(f"{folder}/") for folder in LIBRARIES)
        return None if is_library else f"file: reads {path}"
    for kind, events in KINDS.items():
        if event.startswith(events):
            shown = next((str(value) for value in arguments if isinstance(value, str | bytes | Path)), "")
            return f"{kind}: {event} {shown}".strip()[:200]
    return None
