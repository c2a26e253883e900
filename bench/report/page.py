"""One self-contained page: templates filled, and the charts' JavaScript inlined once."""

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"


def render(context: dict[str, Any]) -> str:
    """The page as HTML.

    Every value is escaped. The content security policy lets the page load nothing and run one script, the
    inlined one, named by its hash.

    Args:
        context: what leaderboard.html names.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["json_block"] = json_block
    script = chart_script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    template = environment.get_template("leaderboard.html")
    return template.render(**context, script=Markup(script), script_hash=digest, style=Markup(style))


@cache
def chart_script() -> str:
    """Vega, Vega-Lite, Vega-Embed and the lines that draw the charts, as one script."""
    snippet = (TEMPLATES / "charts.js").read_text(encoding="utf-8")
    # An end tag inside a string of the script would end the script.
    return vl_convert.javascript_bundle(snippet).replace("</script", "<\\/script")


def json_block(content: Any) -> Markup:
    """JSON for a ``<script type="application/json">``: nothing in it can end the element."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))
