"""The code blocks of the documentation, and what the comment above a block says about running it."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bench

ROOT = Path(bench.__file__).parents[1]
COMMENT = re.compile(r"<!-- (not run|from|in|file): (.+) -->")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page.

    Attributes:
        page: it is on.
        line: of its fence, from 1.
        language: of its fence.
        code: what is between the fences.
        how: what the comment above says, "not run", "from", "in" or "file"; empty without a comment.
        what: what follows in the comment.
    """

    page: Path
    line: int
    language: str
    code: str
    how: str = ""
    what: str = ""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT).as_posix()}, line {self.line}"

    @property
    def runs(self) -> bool:
        return self.language in ("sh", "python") and self.how not in ("not run", "from")


def blocks(page: Path) -> list[Block]:
    """The blocks of a page; a comment above one that is not understood fails."""
    lines = page.read_text(encoding="utf-8").splitlines()
    fences = [number for number, line in enumerate(lines) if line.lstrip().startswith("```")]
    assert len(fences) % 2 == 0, f"{page}: a fence is not closed"
    return [_block(page, lines, *pair) for pair in zip(fences[::2], fences[1::2], strict=True)]


def _block(page: Path, lines: list[str], start: int, end: int) -> Block:
    above = next((line.strip() for line in reversed(lines[:start]) if line.strip()), "")
    comment = COMMENT.fullmatch(above)
    assert comment or not above.startswith("<!--"), f"{page}, line {start + 1}: what does {above} mean?"
    code = "\n".join(lines[start + 1 : end]) + "\n"
    return Block(page, start + 1, lines[start].strip("` "), code, *(comment.groups() if comment else ()))


def command_lines(block: Block) -> Iterator[list[str]]:
    """The words of every command of a shell block, without comments."""
    for line in block.code.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words
