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


# SHA-256 of the bundle by version of the bundler: what a page trusts is named here and not beside the file.
# Of another version the script is bundled for every report; a test says what to enter here for a new one.
BUNDLES = {"1.9.0.post1": "373b1f84072b31010f15ceb787be6b415c53936411aae267c8c2b2b6ccde46e7"}


@cache
def chart_script() -> str:
    """JavaScript that defines ``vegaEmbed``, with Vega-Lite and Vega inside.

    Bundling takes more than a second, so the script is kept below .bench/. A file there that is not the
    bundle of this version, whoever wrote it, is bundled again and never run.
    """
    bundler = version("vl-convert-python")
    file = STORE / "scripts" / f"vega-of-vl-convert-{bundler}.js"
    script = _kept(file, BUNDLES.get(bundler))
    if script is None:
        script = str(vl_convert.javascript_bundle(_SNIPPET))
        if bundler in BUNDLES:
            with contextlib.suppress(OSError):
                write_text(file, script)
    return script


def _kept(file: Path, checksum: str | None) -> str | None:
    try:
        content = file.read_bytes()
    except OSError:
        return None
    return content.decode() if hashlib.sha256(content).hexdigest() == checksum else None
