"""Notices, and stops, what a method file does beyond arithmetic: files, network, processes.

It uses Python's audit hooks, so it sees what goes through Python. It shows an honest author what would make a
comparison unfair or a run depend on the machine; it is no protection against anybody who means harm.
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

# Reading here is a library's work: its code and data, devices, descriptions of the machine.
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
# Audit events (docs.python.org, "Audit events table") by the kind that a message names.
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
    """Notes and refuses what a method file does beyond arithmetic, inside :meth:`watching`.

    Args:
        file: name under which the method's code was compiled.

    Attributes:
        seen: descriptions of what it did, each once.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.seen: list[str] = []
        self._active = False
        sys.addaudithook(self._on_event)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch while the block runs."""
        self._active = True
        try:
            yield
        finally:
            self._active = False

    def _on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._active:
            return
        description = _described(event, arguments, self.file)
        if description is None or not self._is_the_methods_doing():
            return
        if description not in self.seen:
            self.seen.append(description)
        raise PermissionError(f"a method may not do this: {description}")

    def _is_the_methods_doing(self) -> bool:
        # With an import in between, it is a library that is loading itself, whoever asked for it.
        frame = sys._getframe(2)
        while frame is not None:
            name = frame.f_code.co_filename
            if name == self.file:
                return True
            if name.startswith("<frozen importlib"):
                return False
            frame = frame.f_back  # type: ignore[assignment]
        return False


def _described(event: str, arguments: tuple[Any, ...], method_file: str) -> str | None:
    """A description of an audit event for the reader; None if the event is harmless."""
    if event == "open":
        path, mode, flags = str(arguments[0]), arguments[1], arguments[2]
        if isinstance(arguments[0], int) or path in ("/dev/null", method_file):
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
