"""Every chart of the pages as SVG and PNG, with its data as CSV, and the critical-difference diagrams."""

import re
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import vl_convert
from altair.utils.schemapi import debug_mode

from bench.export.critical_difference import critical_difference, drawing
from bench.report.charts.vega import CONFIG
from bench.report.layout import COLOURS, EVALUATION_NAMES, Figure
from bench.report.page import TEMPLATES
from bench.report.pages.dataset_parts import dataset_charts
from bench.report.view import View
from imssl.durable import write_bytes, write_text

# Twice the pixels of the page: 840 a chart.
PNG_SCALE = 2
# Fonts that every viewer of an SVG has; the page's own are those of its reader's system.
FONT = "Helvetica, Arial, sans-serif"
VARIABLE = re.compile(r"var\(--([\w-]+)\)")
# Of a record: what the page says when a mark is pointed at, which the other columns hold as numbers.
SPOKEN = "says"


def write_charts(view: View, folder: Path) -> list[str]:
    """Write all charts of a run into a folder: three files each, of one name.

    Args:
        view: of the run.
        folder: is made where it is not there; files of the same names are replaced.

    Returns:
        Sentences about what there is no chart of, and why.
    """
    for figure in chart_figures(view):
        svg = vl_convert.vegalite_to_svg(standalone(figure))
        write_text(folder / f"{figure.id}.svg", svg)
        write_bytes(folder / f"{figure.id}.png", vl_convert.svg_to_png(svg, scale=PNG_SCALE))
        write_text(folder / f"{figure.id}.csv", data_of(figure).to_csv(index=False, lineterminator="\n"))
    return _write_critical_differences(view, folder)


def _write_critical_differences(view: View, folder: Path) -> list[str]:
    missing = []
    for evaluation in EVALUATION_NAMES:
        difference = critical_difference(view, evaluation)
        if isinstance(difference, str):
            missing.append(difference)
            continue
        name = f"critical-difference-{evaluation}"
        for kind in ("svg", "png"):
            write_bytes(folder / f"{name}.{kind}", drawing(difference, kind))
        write_text(folder / f"{name}.csv", difference.table.to_csv(lineterminator="\n"))
    return missing


def chart_figures(view: View) -> Iterator[Figure]:
    """Every chart of the pages of all data sets, once."""
    for dataset in view.summary.protocol.datasets:
        with debug_mode(False):
            charts = dataset_charts(view, dataset)
        for part in fields(charts):
            value = getattr(charts, part.name)
            parts = value.values() if isinstance(value, dict) else value
            yield from (figure for figure in parts if isinstance(figure, Figure))


def standalone(figure: Figure) -> dict[str, Any]:
    """A chart that needs no page: with its colours, a key to the methods, and its title."""
    spec = _without_page(figure.spec)
    if "autosize" in spec:  # on the page the axes fit into the column; here the key comes beside them
        spec["autosize"] = {"type": "pad"}
    look = {**_without_page(CONFIG), "font": FONT, "background": "white"}
    return {**spec, "title": figure.title, "description": figure.alternative, "config": look}


def data_of(figure: Figure) -> pd.DataFrame:
    """What a chart draws, a row for each mark."""
    records = [
        {key: value for key, value in record.items() if key != SPOKEN}
        for record in figure.spec["data"]["values"]
    ]
    frames = []
    for record in records:
        lists = [key for key, value in record.items() if isinstance(value, list | tuple)]
        frame = pd.DataFrame([record])
        frames.append(frame.explode(lists) if lists else frame)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _without_page(part: Any) -> Any:
    """The same without what the page provides: variables of its style sheet, and its key to the methods."""
    if isinstance(part, list):
        return [_without_page(item) for item in part]
    if isinstance(part, str):
        return VARIABLE.sub(lambda variable: _colours()[variable[1]], part)
    if not isinstance(part, dict):
        return part
    plain = {key: value if key == "values" else _without_page(value) for key, value in part.items()}
    if plain.get("field") == "method" and plain.get("legend", "") is None:
        plain["legend"] = {"title": None}
    return plain


@cache
def _colours() -> dict[str, str]:
    """The style sheet's colours in the light theme, by name."""
    sheet = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    named = dict(re.findall(r"--([\w-]+): light-dark\((#\w+),", sheet))
    return named | {f"c{place}": colour for place, colour in enumerate(COLOURS)}
