"""Score tables as Markdown, in the dialect of GitHub and of most editors."""

from collections.abc import Sequence
from string import ascii_lowercase

from bench.export.score_tables import Score, ScoreTable

# They would end a cell, begin emphasis or a link, or be taken for HTML.
ESCAPED = str.maketrans({sign: f"\\{sign}" for sign in "\\|*_[]<>`"})


def as_markdown(tables: Sequence[ScoreTable]) -> str:
    """Tables with their headings and footnotes, one below the other."""
    return "\n".join(_table(table) for table in tables)


def _table(table: ScoreTable) -> str:
    heads = ["<br>".join(_text(line) for line in [c.group, *c.lines] if line) for c in table.columns]
    lines = [
        f"### {table.title}",
        "",
        _row(["Method", *heads]),
        _row([":--", *["--:"] * len(heads)]),
        *(_row([_text(name), *map(_score, scores)]) for name, scores in table.rows.items()),
        "",
        _text(table.explanation),
        *(f"<br><sup>{letter(i)}</sup> {_text(note)}" for i, note in enumerate(table.footnotes)),
        "",
    ]
    return "\n".join(lines)


def letter(place: int) -> str:
    """The sign of a footnote: a to z, then aa, ab, ..."""
    more, last = divmod(place, len(ascii_lowercase))
    return (letter(more - 1) if more else "") + ascii_lowercase[last]


def _score(score: Score) -> str:
    mean = f"**{score.mean}**" if score.is_best else score.mean
    dagger = " †" if score.is_tied else ""
    notes = "".join(f"<sup>{letter(place)}</sup>" for place in score.notes)
    interval = f" {score.interval}" if score.interval else ""
    return f"{mean}{dagger}{notes}{interval}"


def _text(text: str) -> str:
    return " ".join(text.split()).translate(ESCAPED)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
