"""Score tables as LaTeX with booktabs, and footnotes with threeparttable, by the Styler of pandas."""

from collections.abc import Sequence

import pandas as pd

from bench.export.markdown import letter
from bench.export.score_tables import Score, ScoreColumn, ScoreTable

HEAD = r"""% In the preamble: \usepackage{booktabs,threeparttable}
"""
# What LaTeX reads as a command, and signs that older engines do not have.
ESCAPED = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "–": "--",
        "−": "$-$",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    }
)


def as_latex(tables: Sequence[ScoreTable]) -> str:
    """A floating table for each, for ``input``."""
    return "\n".join([HEAD, *map(_table, tables)])


def _table(table: ScoreTable) -> str:
    frame = pd.DataFrame(
        [[_score(score) for score in scores] for scores in table.rows.values()],
        index=[_text(name) for name in table.rows],
        columns=pd.MultiIndex.from_tuples([(_text(c.group), _head(c)) for c in table.columns]),
    )
    tabular = frame.style.to_latex(
        hrules=True, multicol_align="c", column_format="l" + "r" * len(table.columns)
    )
    notes = [rf"\item {_text(table.explanation)}"]
    notes += [rf"\item[{letter(i)}] {_text(note)}" for i, note in enumerate(table.footnotes)]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            r"\begin{threeparttable}",
            rf"\caption{{{_text(table.title)}: primary metric}}",
            rf"\label{{tab:{table.evaluation}}}",
            r"\footnotesize\setlength{\tabcolsep}{3pt}",
            tabular.rstrip(),
            r"\begin{tablenotes}\footnotesize",
            *notes,
            r"\end{tablenotes}",
            r"\end{threeparttable}",
            r"\end{table}",
            "",
        ]
    )


def _head(column: ScoreColumn) -> str:
    name, *drawn = map(_text, column.lines)
    lines = [name, *(rf"{{\scriptsize {line}}}" for line in drawn)]
    stacked = r"\\".join(lines)
    return rf"\shortstack[r]{{{stacked}}}" if drawn else name


def _score(score: Score) -> str:
    mean = rf"\textbf{{{_text(score.mean)}}}" if score.is_best else _text(score.mean)
    if score.is_tied:
        mean += r"\textsuperscript{$\dagger$}"
    mean += "".join(rf"\tnote{{{letter(place)}}}" for place in score.notes)
    if not score.interval:
        return mean
    # An invisible rule keeps rows apart, as a stack is higher than a line.
    return rf"\rule{{0pt}}{{5.6ex}}\shortstack[r]{{{mean}\\{{\scriptsize {_text(score.interval)}}}}}"


def _text(text: str) -> str:
    return " ".join(text.split()).translate(ESCAPED)
