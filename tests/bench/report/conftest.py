"""The report of the small run, read once or opened in a browser, and a copy of the run to change."""

import shutil
from dataclasses import replace

import pandas as pd
import pytest

from bench.analysis.analyse import analyse
from bench.report.leaderboard import pages
from bench.report.view import view_of
from imssl.spreadsheet import EXACT_NUMBERS
from tests.bench.made_up_results import (  # noqa: F401 (pytest finds fixtures by their name here)
    protocol_of_fixture,
    results_of_fixture,
    summary_of_fixture,
)


@pytest.fixture
def copy(run, tmp_path, monkeypatch):
    """A copy of the run to change, as the current folder."""
    shutil.copytree(run, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")


@pytest.fixture(scope="module")
def table(run):
    table = pd.read_csv(run / "reports" / "results.csv", dtype={"class": str}, **EXACT_NUMBERS)
    return table.fillna({"class": "", "metric": ""})


@pytest.fixture(scope="module")
def page(run):
    return (run / "reports" / "leaderboard.html").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    from tests.chromium import CHROMIUM, launched

    if CHROMIUM is None:
        pytest.skip("there is no chromium on the path")
    with playwright.sync_playwright() as started:
        browser = launched(started)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, run):
    """Open a page of the report; at the end nothing may have been complained of or asked for."""
    contexts, complaints, requests = [], [], []

    def visit(name="leaderboard.html", view="", reports=run / "reports", **settings):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **settings})
        contexts.append(context)
        page = context.new_page()
        # The page's policy is reported to the page, and a request that it stopped may show nowhere else.
        page.add_init_script(
            "addEventListener('securitypolicyviolation', (own) => console.error(own.violatedDirective))"
        )
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(f"{(reports / name).as_uri()}{view}")
        if settings.get("java_script_enabled", True):
            page.wait_for_selector("html[data-ready]")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []


@pytest.fixture
def written(protocol_of, results_of, summary_of, tmp_path, monkeypatch):
    """The pages of a made-up run by name; the folder is its own."""
    # Made-up distances have no classes, by which the distributions to show are chosen.
    monkeypatch.setattr("bench.report.material.output_distributions._moving_most", lambda *_: "ill")

    def write(methods, synthetic=True, changes=None, real=(), own=()):
        monkeypatch.chdir(tmp_path)
        protocol = protocol_of(datasets=("one", *real), methods=methods)
        protocol.methods.update(changes or {})
        skills = {method: 0.2 * place for place, method in enumerate(methods)}
        results = results_of(protocol, lambda cell, _: skills[cell.method], synthetic=synthetic)
        for name in real:
            results.cards[name] = results.cards[name].model_copy(update={"synthetic": False})
        summary = summary_of(protocol, results)
        view = view_of(summary, analyse(summary))
        view = replace(view, drawn_first=(*view.drawn_first, *own))
        for task in pages(view):
            task()
        files = (tmp_path / "reports").rglob("*.html")
        return view, {file.stem: file.read_text(encoding="utf-8") for file in files}

    return write
