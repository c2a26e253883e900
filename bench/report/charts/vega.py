"""Vega-Lite in the page: how its charts look, and the one script that draws them."""

import contextlib
import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import vl_convert

from bench.cells.files import STORE
from imssl.durable import write_text

# Colours are the style sheet's, so that a chart follows the theme without being drawn again.
MUTED, LINE, HAIR, FAINT = "var(--muted)", "var(--line-strong)", "var(--hair)", "var(--faint)"
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'

CONFIG: dict[str, Any] = {
    # The figure has a text alternative, and its numbers are in a table.
    "aria": False,
    "background": None,
    "font": FONT,
    "axis": {
        "labelColor": MUTED,
        "titleColor": MUTED,
        "titleFontWeight": "normal",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "gridColor": HAIR,
        "domainColor": LINE,
        "tickColor": LINE,
    },
    "header": {"labelColor": MUTED, "labelFontSize": 12},
    "view": {"stroke": None},
}

_SNIPPET = "window.vegaEmbed = vegaEmbed;"


@cache
def chart_script() -> str:
    """JavaScript that defines ``vegaEmbed``, with Vega-Lite and Vega inside.

    Bundling takes more than a second, so the script is kept below .bench/ by the bundler's version, with its
    checksum: a damaged file is bundled again and never run.
    """
    file = STORE / "scripts" / f"vega-of-vl-convert-{version('vl-convert-python')}.js"
    script = _kept(file)
    if script is None:
        script = str(vl_convert.javascript_bundle(_SNIPPET))
        with contextlib.suppress(OSError):
            write_text(file, f"{_checksum(script)}\n{script}")
    return script


def _kept(file: Path) -> str | None:
    try:
        checksum, _, script = file.read_bytes().decode().partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    return script if checksum == _checksum(script) else None


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
