"""What lies below a folder: every file is either named or listed with the reason why it is not read."""

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from imssl.errors import UNPRINTABLE, UserError, printable
from imssl.regular_file import why_not_regular

# No data set has so many; links to folders can make endlessly many names of a few files.
MOST_FILES = 5_000_000
OUTSIDE = "is a link to a place outside the folder"


@dataclass
class Listing:
    """The files below a folder, by relative POSIX path.

    Attributes:
        files: that can be read, with their sizes in bytes; sorted by `walk`.
        refused: (name, reason) of what cannot be used: links that lead out, pipes, unreadable folders.
        hidden: names of files and folders that begin with a dot. A folder stands for all that is in it.
    """

    files: dict[str, int] = field(default_factory=dict)
    refused: list[tuple[str, str]] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)


def walk(root: Path, follow_links: Sequence[Path] = ()) -> Listing:
    """List the files below a folder.

    Links are followed, to files as to folders, if they end below the folder itself or below one of
    ``follow_links``. Data under DVC may be of this kind: with the cache type ``symlink``, every file is a
    link into the cache.

    Args:
        root: the folder; it may itself be a link.
        follow_links: other folders in which links may end.

    Raises:
        UserError: the folder cannot be read, or has more than `MOST_FILES` files.
    """
    real_root = Path(os.path.realpath(root))
    walker = _Walker([real_root, *(Path(os.path.realpath(folder)) for folder in follow_links)])
    try:
        walker.visit(root, "", (real_root,))
    except OSError as error:
        raise UserError(f"{root} cannot be read ({error.strerror}).") from None
    listing = walker.listing
    listing.files = dict(sorted(listing.files.items()))
    listing.refused.sort()
    listing.hidden.sort()
    return listing


def is_hidden(name: str) -> bool:
    """Whether a file or folder is one that systems keep out of sight: ``.name``, and macOS's ``__MACOSX``."""
    return name.startswith(".") or name == "__MACOSX"


class _Walker:
    """Fills a `Listing`.

    Attributes:
        allowed: real paths of the folders in which links may end.
        listing: of what has been seen so far.
    """

    def __init__(self, allowed: list[Path]) -> None:
        self.allowed = allowed
        self.listing = Listing()

    def visit(self, folder: Path, name: str, above: tuple[Path, ...]) -> None:
        """Add what lies in a folder.

        Args:
            folder: its path.
            name: relative to the root; empty for the root.
            above: real paths of the folder and of those through which it was reached.

        Raises:
            OSError: it cannot be read.
        """
        # The names first, so that a deep tree does not keep a folder open for each of its levels.
        with os.scandir(folder) as entries:
            children = sorted(entries, key=lambda entry: entry.name)
        for entry in children:
            child = f"{name}/{entry.name}" if name else entry.name
            if len(self.listing.files) + len(self.listing.refused) > MOST_FILES:
                raise UserError(f"{folder}: more than {MOST_FILES:,} files. Do links to folders repeat them?")
            if UNPRINTABLE.search(entry.name):
                self._refuse(child, _why_unprintable(entry.name))
            elif is_hidden(entry.name):
                self.listing.hidden.append(child)
            else:
                self._add(entry, child, above)

    def _add(self, entry: os.DirEntry[str], name: str, above: tuple[Path, ...]) -> None:
        try:
            status = entry.stat()
            real = Path(os.path.realpath(entry.path)) if entry.is_symlink() else above[-1] / entry.name
            if entry.is_symlink() and not any(real.is_relative_to(folder) for folder in self.allowed):
                self._refuse(name, f"{OUTSIDE}: {real.parent}")
            elif entry.is_dir():
                self._add_folder(entry, name, above, real)
            elif reason := why_not_regular(status):
                self._refuse(name, reason)
            else:
                self.listing.files[name] = status.st_size
        except OSError as error:
            self._refuse(name, _why_unreadable(entry, error))

    def _add_folder(self, entry: os.DirEntry[str], name: str, above: tuple[Path, ...], real: Path) -> None:
        if real in above:
            self._refuse(name, "is a link to a folder that contains it")
        elif len(above) > 200:
            self._refuse(name, "lies more than 200 folders deep")
        else:
            self.visit(Path(entry.path), name, (*above, real))

    def _refuse(self, name: str, reason: str) -> None:
        self.listing.refused.append((printable(name), printable(reason)))


def _why_unreadable(entry: os.DirEntry[str], error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "is a link that leads back to itself"
    if error.errno == errno.ENOENT and entry.is_symlink():
        return f"is a link to nothing: {Path(entry.path).readlink()}"
    return f"cannot be read: {error.strerror}"


def _why_unprintable(name: str) -> str:
    bytes_not_utf8 = any("\ud800" <= character <= "\udfff" for character in name)
    return "its name is not UTF-8" if bytes_not_utf8 else "its name holds control characters"
