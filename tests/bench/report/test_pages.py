"""The pages as files: nothing from data is markup, nothing is asked for, equal results are equal bytes."""

import base64
import hashlib
import json
import re
from pathlib import Path

import pandas as pd
import pytest

from bench.report.answer.run_facts import documentation_beside, project_links, suite_version
from bench.report.leaderboard import write_reports
from bench.report.page import json_block
from tests.bench import small_run
from tests.bench.report.reading import PAGES, Page
from tests.bench.small_run import CHEST, FUNDUS, HTML_CLASS, small_protocol


def test_text_from_data_is_escaped_everywhere(page):
    parsed = Page(page)
    assert any(HTML_CLASS in text for text in parsed.text)
    assert HTML_CLASS not in page
    assert {kind for kind, _ in parsed.scripts} == {"application/json", "module"}
    written = [text for kind, text in parsed.scripts if kind == "application/json"]
    assert HTML_CLASS in str([json.loads(text) for text in written])
    assert not [sign for sign in "<>&\u2028\u2029" if sign in "".join(written)]


@pytest.mark.parametrize("name", PAGES)
def test_every_page_escapes_the_text_of_data(run, name):
    page = (run / "reports" / name).read_text(encoding="utf-8")
    assert HTML_CLASS not in page
    assert "the loss is <b>" not in page
    assert [kind for kind, _ in Page(page).scripts].count("module") == 3


@pytest.mark.parametrize("name", PAGES)
def test_pages_ask_the_network_for_nothing(run, name):
    file = run / "reports" / name
    page = file.read_text(encoding="utf-8")
    parsed = Page(page)
    for tag, name, address in parsed.attributes:
        assert name not in ("srcset", "action", "data", "poster", "style")
        assert name != "src" or address.startswith("data:image/png;base64,")
        assert not name.startswith("on")
        # A link out is followed by the reader alone; nothing else on the page may name another place.
        if tag == "a" and name == "href" and address.startswith("https://"):
            continue
        if name == "href" and not address.startswith("#"):
            assert (file.parent / address).is_file(), f"{tag} {address}"
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL).group(1)
    assert "@import" not in style
    assert "url(" not in style
    (policy,) = [
        content for tag, name, content in parsed.attributes if tag == "meta" and "default-src" in str(content)
    ]
    digests = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for kind, text in parsed.scripts
        if kind == "module"
    ]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    assert policy.startswith(f"default-src 'none'; script-src {allowed};")
    assert "unsafe" not in policy
    assert len(page.encode()) < 3_000_000


def test_text_in_json_cannot_end_its_element_or_a_line():
    hostile = "</script><!--&\u2028\u2029"
    block = str(json_block({"name": hostile}))
    assert not [sign for sign in "<>&\u2028\u2029" if sign in block]
    assert json.loads(block) == {"name": hostile}


def test_links_on_the_page_have_their_targets(page):
    attributes = Page(page).attributes
    targets = [value for _, name, value in attributes if name == "id"]
    assert len(targets) == len(set(targets))
    assert {value[1:] for _, name, value in attributes if name == "href" and value[0] == "#"} <= set(targets)
    described = [value for _, name, value in attributes if name == "aria-labelledby"]
    assert set(described) <= set(targets)


def test_pages_of_methods_and_data_sets_that_are_gone_are_removed(copy):
    protocol = small_protocol()
    left = protocol.model_copy(
        update={
            "methods": {"moco": protocol.methods["moco"]},
            "datasets": {CHEST: protocol.datasets[CHEST]},
        }
    )
    write_reports(left)
    assert [file.name for file in Path("reports/methods").iterdir()] == ["moco.html"]
    assert [file.name for file in Path("reports/datasets").iterdir()] == [f"{CHEST}.html"]
    assert "random-init" not in Path("reports/methods/moco.html").read_text()


def test_the_same_results_give_the_same_bytes(copy):
    before = {file: file.read_bytes() for file in Path("reports").rglob("*.*")}
    assert {str(file.relative_to("reports")) for file in before} >= {
        *PAGES,
        "results.csv",
        "results.json",
        "metrics.json",
    }
    write_reports(small_protocol())
    assert {file: file.read_bytes() for file in Path("reports").rglob("*.*")} == before


def test_without_any_result_the_page_still_comes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = write_reports(small_protocol())
    text = " ".join(Page(file.read_text(encoding="utf-8")).text)
    assert "0 of 80 cells are done; 80 missing." in text
    assert "data set not prepared" in text
    assert json.loads(Path("reports/metrics.json").read_text()) == {}
    assert set(pd.read_csv("reports/results.csv")["status"]) == {"missing"}


@pytest.mark.parametrize("name", PAGES)
def test_every_page_says_at_the_top_of_which_day_and_version_it_is(run, name):
    top = (run / "reports" / name).read_text(encoding="utf-8").partition("<nav")[0]
    assert f"{suite_version()}, profile {small_protocol().profile}, computed 2026-01-02</span>" in top


def test_the_documentation_is_linked_where_it_lies_and_no_address_is_made_up(page, tmp_path, monkeypatch):
    footer = page.partition("<footer>")[2].partition("</footer>")[0]
    assert project_links() or "The suite itself has no public address yet." in footer
    # A project with docs of its own is no checkout of the suite.
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").touch()
    monkeypatch.chdir(tmp_path)
    assert documentation_beside(Path("reports")) == ""
    monkeypatch.setattr("bench.report.answer.run_facts.is_checkout", lambda: True)
    assert documentation_beside(Path("reports")) == "../docs/index.md"
    # The pages of a study, or in an archive, lie elsewhere.
    assert documentation_beside(Path("reports/studies/one")) == ""


def test_the_page_of_a_data_set_counts_its_own_patients(tmp_path, monkeypatch):
    samples_of = small_run.samples_of

    def with_pairs(dataset):
        samples = samples_of(dataset)
        return samples.assign(patient=[f"p{i // 2}" for i in range(40)]) if dataset == FUNDUS else samples

    monkeypatch.setattr(small_run, "samples_of", with_pairs)
    monkeypatch.chdir(tmp_path)
    small_run.write_run(small_protocol())
    write_reports(small_protocol())
    for page, patients in (
        ("leaderboard", "10 patients; 20 patients"),
        (f"datasets/{CHEST}", "10 patients"),
        (f"datasets/{FUNDUS}", "20 patients"),
    ):
        text = " ".join(Page(Path(f"reports/{page}.html").read_text(encoding="utf-8")).text)
        assert set(re.findall(r"\(([\w; ]+); \d+ resamples\)", text)) == {patients}
