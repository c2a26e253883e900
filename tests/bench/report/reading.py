"""How the tests read what the report wrote."""

import html
import json
import re
from html.parser import HTMLParser

from tests.bench.small_run import CHEST, FUNDUS

PAGES = (
    "leaderboard.html",
    "methods/moco.html",
    "methods/random-init.html",
    f"datasets/{CHEST}.html",
    f"datasets/{FUNDUS}.html",
)


def table_of(page, name):
    return re.search(rf'<table id="{name}".*?</table>', page, re.DOTALL).group()


def charts_of(page):
    """Text alternative and Vega-Lite specification of each figure, by id."""
    pattern = (
        r'<figure id="([^"]*)"[^>]*>.*?<div class="chart" role="img" aria-label="([^"]*)".*?'
        r'<script type="application/json">(.*?)</script>'
    )
    found = re.findall(pattern, page, re.DOTALL)
    return {name: (html.unescape(words), json.loads(spec)) for name, words, spec in found}


class Page(HTMLParser):
    """Text and attributes of a page, without its scripts and styles.

    A term of the glossary is a button within its sentence: its text is joined to what stands around it.
    """

    def __init__(self, page):
        super().__init__()
        self.text, self.attributes, self.scripts, self._in = [], [], [], ""
        self._open, self._joins = "", False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self._in = tag
        self._open = "term" if ("class", "term") in attributes else tag
        self._joins = self._joins or self._open == "term"
        self.attributes += [(tag, name, value) for name, value in attributes]
        if tag == "script":
            self.scripts.append((dict(attributes).get("type"), ""))

    def handle_endtag(self, tag):
        self._in = ""
        self._joins = self._joins or self._open == "term"
        self._open = ""

    def handle_data(self, data):
        if self._in == "script":
            kind, text = self.scripts[-1]
            self.scripts[-1] = (kind, text + data)
        elif self._in != "style":
            if self._joins and self.text:
                self.text[-1] += data
            else:
                self.text.append(data)
            self._joins = False


def value(table, cell, metric, **where):
    rows = table[
        (table["dataset"] == cell.dataset) & (table["method"] == cell.method) & (table["seed"] == cell.seed)
    ]
    where = {"evaluation": cell.stage, "class": "", "metric": metric, **where}
    if cell.labels is not None:
        where["fraction"] = cell.labels.fraction
    for name, wanted in where.items():
        rows = rows[rows[name] == wanted]
    assert len(rows) == 1
    return rows["value"].item()


def details_of(page):
    """What the page's script shows when a number is clicked."""
    found = re.search(r'<script type="application/json" id="details">(.*?)</script>', page, re.DOTALL)
    return json.loads(found[1])
