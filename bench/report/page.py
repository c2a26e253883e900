"""Self-contained pages: templates filled, style and script inlined, and a policy that bars all else."""

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench.report.layout import COLOURS, DARK_COLOURS

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, context: dict[str, Any]) -> str:
    """A page as HTML.

    Every value is escaped. The content security policy lets the page load nothing and run one script, the
    inlined one, named by its hash.

    Args:
        template: file in the folder of templates.
        context: what it names.
    """
    script, style = _script(), _style()
    return (
        _environment()
        .get_template(template)
        .render(
            **context,
            script=Markup(script),
            style=Markup(style),
            script_hash=_digest(script),
            style_hash=_digest(style),
        )
    )


def json_block(content: Any) -> Markup:
    """JSON for a ``<script type="application/json">``: nothing in it can end the element."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


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
    return environment


@cache
def _script() -> str:
    return (TEMPLATES / "page.js").read_text(encoding="utf-8")


@cache
def _style() -> str:
    """The style sheet with the methods' colours in both themes."""
    pairs = enumerate(zip(COLOURS, DARK_COLOURS, strict=True))
    variables = [f"--c{place}: light-dark({light}, {dark});" for place, (light, dark) in pairs]
    swatches = [f".c{place} {{ fill: var(--c{place}); }}" for place in range(len(COLOURS))]
    sheet = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    return "\n".join([":root {", *variables, "}", *swatches, sheet])


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
