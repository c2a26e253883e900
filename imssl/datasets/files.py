"""Folders and zip archives behind one interface: names, and bytes by name. Nothing is ever unpacked."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from imssl.datasets.archive import MOST_BYTES, Zip
from imssl.datasets.source import BadImage
from imssl.datasets.walk import walk
from imssl.errors import UserError
from imssl.paths import expanded
from imssl.regular_file import read_regular

# In any case. What Pillow may open is decided by the content (imssl.datasets.images.FORMATS).
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".bmp", ".dib", ".webp")
# Of images that nothing here reads: pictures, slides and volumes. They may be half of a data set.
OTHER_SUFFIXES = (
    *(".gif", ".jp2", ".j2k", ".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".heic", ".heif"),
    *(".jxl", ".tga", ".pcx", ".psd", ".svs", ".ndpi", ".mrxs", ".czi", ".nii", ".nii.gz", ".mha", ".nrrd"),
)
NOT_READ = "is an image of a kind that is not read; convert it to PNG"
NO_SUFFIX = "is an image whose name does not end as one; give it the suffix of its kind, such as .png"
ZIP = "is a zip among other files, and is not opened; if it belongs to the data set, unpack it"
# How images begin: PNG, JPEG, GIF, TIFF, JPEG 2000.
BEGINNINGS = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ")
SHOWN = 8


# Lowest and highest value of 16-bit greys that become 0 and 255; None for the window of the bit depth.
Window = tuple[int, int] | None


@dataclass(frozen=True)
class Reading:
    """How the files of a source are read.

    Attributes:
        follow_links: folders outside the root in which links may end; see `imssl.datasets.walk.walk`.
        window: of 16-bit greys; see `imssl.datasets.images.decode`.
    """

    follow_links: tuple[Path, ...] = ()
    window: Window = None


# No links out of the root, and the window of the bit depth.
AS_PUBLISHED = Reading()


class Files(Protocol):
    """Read-only files below one root.

    Attributes:
        path: of the folder or archive.
        names: relative POSIX paths, sorted.
        refused: (name, reason) of what cannot be read, for example because it leads out of the root.
        hidden: names of files and folders that begin with a dot, and of macOS's ``__MACOSX``.
    """

    path: Path
    names: list[str]
    refused: list[tuple[str, str]]
    hidden: list[str]

    def read(self, name: str) -> bytes:
        """Content of a file; may be called from several threads. Raises BadImage if it cannot be read."""
        ...

    def same_content(self, first: str, second: str) -> bool:
        """Whether two files are equal. Raises BadImage if one cannot be read."""
        ...

    def checksums(self) -> dict[str, str]:
        """SHA-256 of the archive by its name; empty for a folder."""
        ...


class Folder:
    """Files below a folder.

    Args:
        path: of the folder.
        follow_links: other folders in which links may end; see `imssl.datasets.walk.walk`.
    """

    def __init__(self, path: Path, follow_links: Sequence[Path] = ()) -> None:
        self.path = path
        listing = walk(path, follow_links)
        self.names, self.refused, self.hidden = list(listing.files), listing.refused, listing.hidden
        self._sizes = listing.files

    def read(self, name: str) -> bytes:
        """See `Files.read`."""
        try:
            return read_regular(self.path / name, MOST_BYTES)
        except OSError as error:
            raise BadImage(name, f"cannot be read ({error.strerror})") from None

    def same_content(self, first: str, second: str) -> bool:
        """See `Files.same_content`."""
        return self._sizes[first] == self._sizes[second] and self.read(first) == self.read(second)

    def checksums(self) -> dict[str, str]:
        """See `Files.checksums`."""
        return {}


def located(path: str) -> Path:
    """The absolute path that a setting means; relative ones start at the project's folder, the current one.

    Raises:
        UserError: see `imssl.paths.expanded`.
    """
    return expanded(path).absolute()


def open_files(path: Path, follow_links: Sequence[Path] = ()) -> Files:
    """Open a folder or a zip; a folder that holds nothing but one zip is opened as that zip.

    Args:
        path: of the folder or zip.
        follow_links: other folders in which links may end; see `imssl.datasets.walk.walk`.

    Raises:
        UserError: the path is neither.
    """
    if path.is_dir():
        folder = Folder(path, follow_links)
        if len(folder.names) == 1 and folder.names[0].lower().endswith(".zip") and not folder.refused:
            return Zip(path / folder.names[0])
        return folder
    if not path.exists():
        raise UserError(f"{path} does not exist.")
    return Zip(path)


def is_image(name: str) -> bool:
    """Whether a file's suffix is that of an image, in whatever case."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def find(files: Files, *candidates: str) -> str | None:
    """The file with the first of these base names that occurs; of several, the one nearest the root."""
    for candidate in candidates:
        matches = [name for name in files.names if name == candidate or name.endswith("/" + candidate)]
        if matches:
            return min(matches, key=lambda name: (name.count("/"), name))
    return None


def read_required(files: Files, name: str) -> bytes:
    """Content of a file that the source cannot do without.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return files.read(name)
    except BadImage as bad:
        raise UserError(f"{files.path}: {bad}. Mend or replace this file.") from None


def one_each(names: Sequence[str], bad: list[tuple[str, str]]) -> dict[str, str]:
    """Files by sample id, which is the base name without its suffix.

    Args:
        names: of the files, sorted.
        bad: list to which the second and later files of an id are added.
    """
    by_id: dict[str, str] = {}
    for name in names:
        first = by_id.setdefault(PurePosixPath(name).stem, name)
        if first != name:
            bad.append((name, f"duplicate id: {first} has the same name"))
    return by_id


def leftovers(files: Files, used: Collection[str]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """What a source has not used of its files, so that nothing is left out without a word.

    Args:
        files: of the source.
        used: names of those that it has used, or has left out itself with a reason.

    Returns:
        (name, reason) of what may belong to the data set, and so is a fault: images in unexpected places or
        of a kind that is not read, links that are not followed; and of what does not: hidden files, texts,
        programs.
    """
    used = set(used)
    bad: list[tuple[str, str]] = []
    unused: list[tuple[str, str]] = []
    for name in files.names:
        if name in used:
            continue
        if is_image(name):
            bad.append((name, "lies where this source has no images"))
        elif name.lower().endswith(OTHER_SUFFIXES):
            bad.append((name, NOT_READ))
        elif not PurePosixPath(name).suffix and _begins_as_image(files, name):
            bad.append((name, NO_SUFFIX))
        else:
            is_zip = name.lower().endswith(".zip")
            unused.append((name, ZIP if is_zip else "is no image, and no table of this source"))
    for name, reason in files.refused:
        # A folder, or a file of DVC's cache, has no suffix.
        suffix = PurePosixPath(name).suffix
        (bad if is_image(name) or not suffix or suffix == ".zip" else unused).append((name, reason))
    unused += [(name, "is hidden") for name in files.hidden]
    return bad, unused


def _begins_as_image(files: Files, name: str) -> bool:
    try:
        content = files.read(name)
    except BadImage:
        return True  # it may be one, and cannot be used
    return content.startswith(BEGINNINGS) or (content[:4] == b"RIFF" and content[8:12] == b"WEBP")


def of_zips(files: Files) -> str:
    """What to do where there are zips instead of images: a sentence, or nothing where there are none."""
    zips = [name for name in files.names if name.lower().endswith(".zip")]
    several = " It holds several zips: give one zip, or unpack them." if len(zips) > 1 else ""
    return several or " Give the zip in it, or unpack that." * bool(zips)


def layout_error(files: Files, expected: str) -> UserError:
    """The error for a folder or archive that is not laid out as its owners publish it."""
    shown = "\n".join(f"  {name}" for name in files.names[:SHOWN]) or "  nothing"
    more = f"\n  and {len(files.names) - SHOWN} more" if len(files.names) > SHOWN else ""
    refused = "".join(f"\n  {name}: {reason}" for name, reason in files.refused[:SHOWN])
    if refused:
        refused = f"\nCannot be used ({len(files.refused)}):{refused}"
    return UserError(
        f"{files.path} is not laid out as expected.\nExpected: {expected}\nFound:\n{shown}{more}{refused}"
        + of_zips(files).replace(" ", "\n", 1)
    )
