"""Zip archives, read in place: nothing is ever unpacked."""

import errno
import stat
import zipfile
import zlib
from pathlib import Path

from imssl.datasets.source import BadImage
from imssl.datasets.walk import is_hidden
from imssl.errors import UNPRINTABLE, UserError, printable
from imssl.regular_file import checksum, why_not_regular

# No image or table of any source is so large, but the entry of an archive may claim any size.
MOST_BYTES = 2**29
MOST_ENTRIES = 5_000_000
# Images are compressed already. An archive that grows so much when unpacked is made to fill memory or a disk.
MOST_EXPANSION = 100
ALWAYS_ALLOWED = 2**30


class Zip:
    """Files in a zip archive; see `imssl.datasets.files.Files`.

    Args:
        path: of the archive.

    Raises:
        UserError: it is no zip, cannot be read, or claims impossible sizes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.refused: list[tuple[str, str]] = []
        self.hidden: list[str] = []
        self._archive = open_zip(path)
        self._entries: dict[str, zipfile.ZipInfo] = {}
        for entry in self._archive.infolist():
            self._add(entry)
        self.names = sorted(self._entries)

    def _add(self, entry: zipfile.ZipInfo) -> None:
        name = entry.filename.replace("\\", "/")  # some programs write Windows' separators
        reason = _why_refused(entry, name)
        if name.endswith("/"):
            return
        if reason:
            self.refused.append((printable(name), reason))
        elif any(is_hidden(part) for part in name.split("/")):
            self.hidden.append(name)
        elif name in self._entries:
            self.refused.append((name, "occurs more than once in the archive"))
        else:
            self._entries[name] = entry

    def read(self, name: str) -> bytes:
        """See `imssl.datasets.files.Files.read`."""
        entry = self._entries[name]
        if entry.file_size > MOST_BYTES:
            raise BadImage(name, "the file is too large")
        try:
            return self._archive.read(entry)
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
            raise BadImage(name, f"is damaged in the archive ({error})") from None
        except OSError as error:
            raise BadImage(name, f"cannot be read ({error.strerror or error})") from None
        except (RuntimeError, NotImplementedError) as error:  # encrypted, or an unknown compression
            raise BadImage(name, f"cannot be unpacked ({error})") from None

    def same_content(self, first: str, second: str) -> bool:
        """See `imssl.datasets.files.Files.same_content`; compares sizes and CRC-32."""
        entries = self._entries[first], self._entries[second]
        return len({(entry.file_size, entry.CRC) for entry in entries}) == 1

    def checksums(self) -> dict[str, str]:
        """See `imssl.datasets.files.Files.checksums`."""
        return {self.path.name: checksum(self.path)}


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open a zip archive after a look at what it claims to hold.

    One handle serves all threads: ZipFile locks around each seek and read of it.

    Raises:
        UserError: it is no zip, cannot be read, or claims impossible sizes.
    """
    try:
        reason = why_not_regular(path.stat())
        if reason:
            raise UserError(f"{path} {reason}.")
        archive = zipfile.ZipFile(path)
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # a seek to a wrong place is a fault of the archive
            raise UserError(f"{path} cannot be read ({error.strerror}).") from None
        raise _not_a_zip(path, error) from None
    # zipfile raises NotImplementedError where the archive asks for a later version of the format.
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, EOFError) as error:
        raise _not_a_zip(path, error) from None
    _check_claims(archive, path)
    return archive


def _check_claims(archive: zipfile.ZipFile, path: Path) -> None:
    entries, size = archive.infolist(), path.stat().st_size
    total = sum(entry.file_size for entry in entries)
    if len(entries) > MOST_ENTRIES:
        raise UserError(f"{path} has {len(entries):,} entries, more than {MOST_ENTRIES:,}; it is not opened.")
    if total > ALWAYS_ALLOWED + MOST_EXPANSION * size:
        raise UserError(
            f"{path} has {size:,} bytes and would have {total:,} when unpacked, more than {MOST_EXPANSION} "
            "times as many; it is not opened. If you trust it, unpack it yourself and name the folder."
        )


def _not_a_zip(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path} is not a readable zip archive ({error}). If it is a download, it may be incomplete."
    )


def _why_refused(entry: zipfile.ZipInfo, name: str) -> str | None:
    parts = name.split("/")
    if ".." in parts or parts[0] == "" or ":" in parts[0]:
        return "its name leads out of the archive"
    if UNPRINTABLE.search(name):
        return "its name holds control characters"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "is a link"
    return None
