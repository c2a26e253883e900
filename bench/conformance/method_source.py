"""A method file's source: read and parsed, but never run here."""

import ast
import hashlib
import re
import stat
import sys
import sysconfig
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from imssl.errors import UserError

LARGEST_BYTES = 256 * 1024

THE_PROJECTS_OWN = {"bench", "imssl", "tests", "docs"}

# Names that can be imported, and turn into an id of params.yaml by replacing _ with -.
FILE_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*\.py")


@dataclass(frozen=True)
class MethodSource:
    """A method file's content.

    Attributes:
        path: as the user gave it.
        content: the bytes of the file.
        text: the same, decoded.
    """

    path: Path
    content: bytes
    text: str

    @property
    def sha256(self) -> str:
        """SHA-256 of the content."""
        return hashlib.sha256(self.content).hexdigest()


def shadowed_module(file_name: str) -> str | None:
    """What a file of this name would hide from Python where it lies; None if nothing.

    A ``queue.py`` in the project's folder is imported in the place of the standard library's by every program
    that is started there.

    Returns:
        Such as ``"the module queue of the standard library"``.
    """
    name = file_name.removesuffix(".py")
    if name in sys.stdlib_module_names:
        return f"the module {name} of the standard library"
    if name in THE_PROJECTS_OWN:
        return f"the project's own package {name}"
    installed = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    return f"the installed package {name}" if PathFinder.find_spec(name, installed) else None


def read_source(path: Path) -> MethodSource:
    """Read a method file.

    Raises:
        UserError: it is missing, not a regular file, too large, badly named, not UTF-8 or not Python.
    """
    if not FILE_NAME.fullmatch(path.name):
        raise UserError(
            f"{str(path)!r}: the name of a method file consists of lower-case letters, digits and single "
            "underscores, a letter first, and ends in .py, such as my_method.py. Rename it."
        )
    shadowed = shadowed_module(path.name)
    if shadowed:
        raise UserError(
            f"{path}: a file of this name hides {shadowed}, which breaks every program started "
            f"beside it. Rename it, for example to my_{path.name}."
        )
    content = _content(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: not UTF-8 text; save the file as UTF-8.") from None
    try:
        compile(text, str(path), "exec", ast.PyCF_ONLY_AST)
    except SyntaxError as error:
        where = f"{path}, line {error.lineno}" if error.lineno else str(path)
        raise UserError(f"{where}: not Python: {error.msg}.") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"{path}: Python cannot read it: {error or type(error).__name__}.") from None
    return MethodSource(path, content, text)


def _content(path: Path) -> bytes:
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            kind = "a folder" if stat.S_ISDIR(state.st_mode) else "not a regular file"
            raise UserError(f"{path} is {kind}; give a Python file with one method in it.")
        if state.st_size > LARGEST_BYTES:
            raise UserError(
                f"{path} has {state.st_size:,} bytes; a method file has at most {LARGEST_BYTES:,}. "
                "Take data and weights out of it: every method starts from the same initial weights, which "
                "encoder.weights in params.yaml may name."
            )
        with path.open("rb") as file:
            return file.read(LARGEST_BYTES)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from None
