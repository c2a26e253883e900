"""Charts as inline SVG: drawn by Vega-Lite when the page is written, so that they need no script.

Colours become the style sheet's, which has two themes, and a mark says its numbers where the mouse rests.
"""

from typing import Any
from xml.etree import ElementTree

import vl_convert
from markupsafe import Markup

from bench.report.layout import COLOURS

# What a chart's colour stands for; the style sheet gives it a value in either theme.
INK, LINE, GRID, FAINT = "#4b5563", "#9ca3af", "#e5e7eb", "#6b7280"
ROLES = {INK: "muted", LINE: "line-strong", GRID: "hair", FAINT: "faint"}

CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": "Helvetica, Arial, sans-serif",
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "titleFontWeight": "normal",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "gridColor": GRID,
        "domainColor": LINE,
        "tickColor": LINE,
    },
    "header": {"labelColor": INK, "titleColor": INK, "labelFontSize": 12},
    "view": {"stroke": None},
}

_VARIABLES = {colour.lower(): f"var(--c{place})" for place, colour in enumerate(COLOURS)} | {
    colour: f"var(--{role})" for colour, role in ROLES.items()
}
_KEPT = {
    *("d", "x", "y", "x1", "x2", "y1", "y2", "width", "height", "viewBox", "transform", "text-anchor"),
    *("fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "font-size", "font-weight"),
}
_NAMESPACE = "{http://www.w3.org/2000/svg}"


def drawn(spec: dict[str, Any]) -> Markup:
    """A Vega-Lite chart as an SVG element: shapes and text only, no ids, scripts, styles or addresses.

    Args:
        spec: Vega-Lite; CONFIG is added. A mark with a ``description`` shows it when pointed at.
    """
    root = ElementTree.fromstring(vl_convert.vegalite_to_svg({**spec, "config": CONFIG}))
    width = root.get("width", "0")
    _slim(root)
    for name in ("width", "height"):
        del root.attrib[name]
    # The figure has a text alternative, and its numbers are in a table.
    root.attrib |= {"data-width": width, "aria-hidden": "true", "focusable": "false"}
    return Markup(ElementTree.tostring(root, encoding="unicode", short_empty_elements=True))


def _slim(element: ElementTree.Element) -> None:
    """Leave what is seen; the page's own sheet says the rest."""
    label = element.get("aria-label") if element.get("role") == "graphics-symbol" else None
    is_mark = element.get("aria-roledescription") not in ("axis", "legend", "title")
    element.tag = element.tag.removeprefix(_NAMESPACE)
    element.attrib = {
        name: _VARIABLES.get(value.lower(), value)
        for name, value in element.attrib.items()
        if name in _KEPT and (name, value) not in {("opacity", "1"), ("transform", "translate(0,0)")}
    }
    for child in list(element):
        if child.get("class") in ("background", "foreground"):
            element.remove(child)
        else:
            _slim(child)
    if label and is_mark and element.tag == "path":
        ElementTree.SubElement(element, "title").text = label
