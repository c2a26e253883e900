"""Tables and lists of others: the one way in which text from outside becomes rows and names."""

import csv
import difflib
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from imssl.errors import UserError

BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
# How many wrong rows an error lists.
LISTED = 10


def decode_text(content: bytes, title: str) -> str:
    """Text of a file: UTF-8 with or without a byte-order mark, or UTF-16 or UTF-32 with one.

    Args:
        content: of the file.
        title: name of the file, for the error.

    Raises:
        UserError: it is in another encoding, or holds zero bytes and so is no text at all.
    """
    mark, encoding = next(
        ((mark, name) for mark, name in BYTE_ORDER_MARKS if content.startswith(mark)), (b"", "utf-8")
    )
    try:
        text = content.removeprefix(mark).decode(encoding)
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count("\n".encode(encoding)) + 1
        raise UserError(
            f"{title}, line {line}: not text in {encoding.upper()}. Save the file as UTF-8."
        ) from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise UserError(f"{title}, line {line}: a zero byte, so this is not a text file. Save it as UTF-8.")
    return text


def read_table(content: bytes, title: str, columns: Sequence[str], separator: str = ",") -> pd.DataFrame:
    """A CSV file as a table of (N) rows of str, without blanks around names and cells.

    Columns without a name are left out, and so are rows without any text; empty cells are empty strings.

    Args:
        content: of the file.
        title: name of the file, for the error.
        columns: that it must have.
        separator: between the cells.

    Returns:
        The rows; their index, ``line``, is the line of the file on which each begins.

    Raises:
        UserError: it is not a CSV with these columns, or a row has more or fewer cells than the header.
    """
    rows = [
        (line, cells) for line, cells in _rows(decode_text(content, title), title, separator) if any(cells)
    ]
    if not rows:
        raise UserError(f"{title} is not a CSV file: it is empty.")
    (_, header), *body = rows
    check_columns(header, title, columns)
    _check_widths(body, header, title, separator)
    lines = pd.Index([line for line, _ in body], name="line", dtype="int64")
    table = pd.DataFrame([cells for _, cells in body], columns=header, index=lines, dtype=str)
    return table.loc[:, [name != "" for name in header]]


def _rows(text: str, title: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The line on which each row begins, and its cells."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    line = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise UserError(
                f"{title} is not a CSV file: the row that begins on line {line} cannot be read ({error}). "
                "Mend its quotes."
            ) from None
        if cells is None:
            return
        yield line, [cell.strip() for cell in cells]
        line = reader.line_num + 1


def check_columns(header: Sequence[str], title: str, columns: Sequence[str]) -> None:
    """See whether a table has the columns that are needed.

    Args:
        header: names of its columns; empty for those without one.
        title: of the table, for the error.
        columns: that it must have.

    Raises:
        UserError: one is missing, or there more than once.
    """
    missing = [column for column in columns if column not in header]
    if missing:
        near = [name for column in missing if (name := nearest(column, [name for name in header if name]))]
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        named = ", ".join(name for name in header if name)
        raise UserError(f"{title} lacks the column {', '.join(missing)}; it has {named}.{hint}")
    twice = sorted(name for name, count in Counter(header).items() if name and count > 1)
    if twice:
        raise UserError(f"{title} has the column {', '.join(twice)} more than once. Rename all but one.")


def _check_widths(
    body: Sequence[tuple[int, list[str]]], header: Sequence[str], title: str, separator: str
) -> None:
    wrong = [(line, cells) for line, cells in body if len(cells) != len(header)]
    if not wrong:
        return
    shown = [f"  line {line}: {len(cells)} cells" for line, cells in wrong[:LISTED]]
    if len(wrong) > LISTED:
        shown.append(f"  and {len(wrong) - LISTED:,} more rows")
    trailing = all(len(cells) == len(header) + 1 and not cells[-1] for _, cells in wrong)
    hint = (
        f"They end with {separator!r}, which begins one cell more; remove it."
        if trailing
        else f"Mend these rows; a cell that holds {separator!r} must stand in double quotes."
    )
    raise UserError(
        "\n".join(
            [f"{title}: the header has {len(header)} cells, but not every row has as many:", *shown, hint]
        )
    )


@dataclass(frozen=True)
class NameList:
    """A text file with a name at the beginning of each line.

    Attributes:
        names: first word of each line that is not empty.
        lines: number of the line of each name.
        has_more: whether any line holds more than its first word. CheXNet's lists, for example, have the
            14 labels of an image after its name.
    """

    names: list[str]
    lines: list[int]
    has_more: bool


def read_names(content: bytes, title: str) -> NameList:
    """A list of names, one a line; what follows the first word of a line is not read.

    Args:
        content: of the file.
        title: name of the file, for the error.

    Raises:
        UserError: it is not text.
    """
    lines = [(n, line.split()) for n, line in enumerate(decode_text(content, title).splitlines(), start=1)]
    lines = [(n, words) for n, words in lines if words]
    return NameList(
        names=[words[0] for _, words in lines],
        lines=[n for n, _ in lines],
        has_more=any(len(words) > 1 for _, words in lines),
    )


def nearest(value: str, known: Iterable[str]) -> str | None:
    """The known name that a misspelt one probably means, such as ``2`` for ``2.0``; None if none is near."""
    by_key = {_spelling(name): name for name in reversed(list(known))}
    close = difflib.get_close_matches(_spelling(value), by_key, n=1, cutoff=0.75)
    return by_key[close[0]] if close else None


def unknown_value(what: str, value: str, known: Sequence[str]) -> str:
    """The reason for leaving out a row whose value is not known; the same for all rows with this value.

    Args:
        what: the value is, for example ``finding``.
        value: as the row has it.
        known: values that are allowed.
    """
    near = nearest(value, known)
    if near is not None:
        return f"unknown {what} {value!r} (did you mean {near!r}?)"
    shown = ", ".join(known[:LISTED]) + (", ..." if len(known) > LISTED else "")
    return f"unknown {what} {value!r} (known are {shown})"


def _spelling(name: str) -> str:
    """What two spellings of a name have in common: letters and digits, and the value of a number."""
    try:
        return f"{float(name):g}"
    except ValueError:
        return "".join(character for character in name.casefold() if character.isalnum()) or name
