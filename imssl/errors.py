"""The errors whose messages are meant for the person who runs the suite."""

import re

# What a terminal may obey (C0, DEL, C1), what reorders text, and bytes of a name that were not UTF-8.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, keep: str = "") -> str:
    r"""Text that is safe to print: control characters and bytes that are not UTF-8 become ``\x1b`` and so on.

    Args:
        text: for example a file's name.
        keep: control characters that stay as they are.
    """
    return UNPRINTABLE.sub(lambda match: match[0] if match[0] in keep else _escape(match[0]), text)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # Python's stand-in for a byte that is not UTF-8
        code -= 0xDC00
    return {"\n": r"\n", "\r": r"\r", "\t": r"\t"}.get(
        character, f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    )


def first_line(error: BaseException) -> str:
    """The first line of what an error says; its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


class UserError(Exception):
    """Something the user can mend: the message says what is wrong, where, and how to mend it."""

    def __init__(self, message: str) -> None:
        # A message quotes names and values from files of others.
        super().__init__(printable(message, keep="\n\t"))


class Diverged(Exception):
    """The loss of a training run became infinite or NaN: its cell has failed, other cells can still run."""


class Stopped(Exception):
    """Raised by what progress is reported to: the run is to save its state and leave; another goes on."""
