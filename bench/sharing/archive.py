"""Read an archive that a stranger has sent: its names, kinds and sizes are judged before anything is written.

What is in it is data. Nothing is imported, run, unpickled or followed, and a file is written only below the
folder that it is unpacked to.
"""

import re
import stat
import zipfile
import zlib
from pathlib import Path

from imssl.errors import UserError, printable

MIB = 2**20
MOST_FILES = 20_000
LARGEST_ARCHIVE, LARGEST_TEXT, LARGEST_BINARY = 2048 * MIB, 64 * MIB, 1024 * MIB
# All files together; packed, they may be no smaller than that by more than CSV and JSON are.
LARGEST_CONTENT, MOST_SQUEEZED = 4096 * MIB, 200
CHUNK = MIB
# Letters, digits and a few signs; no part begins with a dot, so none leads upwards or is hidden.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]*(/[A-Za-z0-9_][A-Za-z0-9._@-]*){0,7}")
LONGEST_NAME = 240
# What a submission has at its top.
TOP = {"submission.json", "method.py", "checks.json", "tuning.csv", "cards", "results"}
TEXT = {".json", ".csv", ".py", ".md"}
BINARY = {".safetensors", ".npz"}


def unpack(archive: Path, folder: Path) -> list[str]:
    """Write the files of an archive into an empty folder.

    Args:
        archive: a zip file.
        folder: exists and is empty.

    Returns:
        Their names.

    Raises:
        UserError: it is no zip file, or holds something that no submission holds: a name that leads elsewhere
            or occurs twice, a link, a kind of file that may be code or a pickle, too many or too large files,
            or content that is damaged or larger than it says.
    """
    try:
        size = archive.stat().st_size
    except OSError as error:
        raise UserError(f"{archive} cannot be read: {error.strerror}") from None
    if size > LARGEST_ARCHIVE:
        raise UserError(
            f"{archive} has {size / MIB:,.0f} MiB; a submission has {LARGEST_ARCHIVE / MIB:,.0f} at most"
        )
    try:
        with zipfile.ZipFile(archive) as packed:
            entries = _judged(packed.infolist(), size, archive)
            for entry in entries:
                _write(packed, entry, folder / entry.filename)
    # zipfile raises NotImplementedError for a compression that it does not know, and RuntimeError for a
    # password.
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise UserError(
            f"{archive} is no zip file as bench submit writes it: {printable(str(error))}"
        ) from None
    except OSError as error:
        raise UserError(f"{archive} cannot be unpacked: {error.strerror or error}") from None
    return [entry.filename for entry in entries]


def _judged(entries: list[zipfile.ZipInfo], size: int, archive: Path) -> list[zipfile.ZipInfo]:
    if len(entries) > MOST_FILES:
        raise UserError(f"{archive} holds {len(entries):,} files; a submission holds {MOST_FILES:,} at most")
    seen: set[str] = set()
    for entry in entries:
        fault = _fault(entry)
        if fault is None and entry.filename.lower() in seen:
            fault = "occurs twice"
        if fault is not None:
            raise UserError(
                f"{archive}: {printable(entry.filename)[:LONGEST_NAME]} {fault}; nothing was unpacked"
            )
        seen.add(entry.filename.lower())
    whole = sum(entry.file_size for entry in entries)
    if whole > LARGEST_CONTENT or whole > MOST_SQUEEZED * max(size, MIB):
        raise UserError(
            f"{archive} has {size / MIB:,.1f} MiB and would unpack to {whole / MIB:,.0f}: nothing was written"
        )
    return entries


def _fault(entry: zipfile.ZipInfo) -> str | None:
    """Why an entry may not be in a submission; None if it may."""
    kind, suffix = stat.S_IFMT(entry.external_attr >> 16), Path(entry.filename).suffix
    # zipfile cuts a name at a zero byte, so what is judged is also what the archive says.
    if entry.orig_filename != entry.filename or len(entry.filename) > LONGEST_NAME:
        return "is no name of a file in a submission"
    if not NAME.fullmatch(entry.filename):
        return "is no name of a file in a submission: it may lead elsewhere"
    if entry.filename.split("/")[0] not in TOP:
        return "has no place in a submission"
    if kind not in (0, stat.S_IFREG):
        return "is a link, or another thing that is no plain file"
    if suffix not in TEXT | BINARY or (suffix == ".py" and entry.filename != "method.py"):
        return "is of a kind that no submission holds"
    if entry.flag_bits & 0x1:
        return "is encrypted"
    if entry.file_size > (LARGEST_TEXT if suffix in TEXT else LARGEST_BINARY):
        return f"has {entry.file_size / MIB:,.0f} MiB, more than such a file has"
    return None


def _write(packed: zipfile.ZipFile, entry: zipfile.ZipInfo, file: Path) -> None:
    """Unpack one file, at most as much as it said it holds."""
    file.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with packed.open(entry) as source, file.open("xb") as target:
        while chunk := source.read(CHUNK):
            written += len(chunk)
            if written > entry.file_size:
                raise UserError(f"{printable(entry.filename)} is larger than the archive says")
            target.write(chunk)
