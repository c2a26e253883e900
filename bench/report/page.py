"""Self-contained pages: templates filled, style and script inlined, and a policy that bars all else."""

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from bench.report.answer.glossary import TERMS, glossed, name_of
from bench.report.charts.vega import CONFIG, chart_script
from bench.report.layout import COLOURS, DARK_COLOURS, Entry

TEMPLATES = Path(__file__).parent / "templates"

# Nothing that could end the element, or a line of a script.
_ESCAPES = {ord(sign): f"\\u{ord(sign):04x}" for sign in "&<>\u2028\u2029"}


@dataclass(frozen=True)
class Inlined:
    """A script or style sheet as it stands in the page.

    Attributes:
        text: of the element.
        digest: SHA-256 in base64; the policy lets what has it run.
    """

    text: Markup
    digest: str


def render(template: str, context: dict[str, Any]) -> str:
    """A page as HTML.

    Every value is escaped. The content security policy lets the page load nothing and run its inlined scripts
    only, named by their hashes.

    Args:
        template: file in the folder of templates.
        context: what it names.
    """
    page = _environment().get_template(template)
    glossary = [(name_of(names), names[0], meaning) for names, meaning in TERMS.items()]
    return page.render(**context, scripts=_scripts(), style=_style(), chart_look=CONFIG, glossary=glossary)


def render_part(template: str, context: dict[str, Any]) -> Markup:
    """A piece of a page, to be placed in one.

    Args:
        template: file in the folder of templates.
        context: what it names.
    """
    return Markup(_environment().get_template(template).render(**context))


def json_block(content: Any) -> Markup:
    """JSON for a ``<script type="application/json">``: nothing in it can end the element."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return Markup(text.translate(_ESCAPES))


def table_cells(entries: Iterable[Entry]) -> Markup:
    """The cells of a row of a table: a page may have 80,000, and a macro takes ten times as long for one."""
    return Markup("".join(map(_table_cell, entries)))


def _table_cell(entry: Entry) -> str:
    kind = ("n" if entry.numeric else "t") + " hole" * entry.hole
    mark = ""
    if entry.mark:
        kind, mark = f"{kind} {entry.mark}", f"<b>{entry.mark}</b> "
    title = f' title="{escape(entry.title)}"' if entry.title else ""
    small = "".join(f"<small>{escape(line)}</small>" for line in entry.small)
    return f'<td class="{kind}"{title}>{mark}{escape(entry.text)}{small}</td>'


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["json_block"] = json_block
    environment.filters["glossed"] = glossed
    environment.filters["table_cells"] = table_cells
    return environment


@cache
def _scripts() -> tuple[Inlined, ...]:
    """In the order in which they run: what a reader clicks first, then what draws, then what is drawn."""
    # The parts of one script: what is computed, what is shown, what is clicked.
    names = ("view", "scores", "aggregates", "shown", "heads", "cell", "folds", "page")
    of_page = [(TEMPLATES / f"{name}.js").read_text(encoding="utf-8") for name in names]
    return (
        _inlined("\n".join(of_page)),
        _inlined(chart_script()),
        _inlined((TEMPLATES / "charts.js").read_text(encoding="utf-8")),
    )


@cache
def _style() -> Inlined:
    """The style sheet with the methods' colours in both themes."""
    pairs = enumerate(zip(COLOURS, DARK_COLOURS, strict=True))
    variables = [f"--c{place}: light-dark({light}, {dark});" for place, (light, dark) in pairs]
    swatches = [f".c{place} {{ fill: var(--c{place}); }}" for place in range(len(COLOURS))]
    sheet = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    return _inlined("\n".join([":root {", *variables, "}", *swatches, sheet]))


def _inlined(text: str) -> Inlined:
    return Inlined(Markup(text), base64.b64encode(hashlib.sha256(text.encode()).digest()).decode())
