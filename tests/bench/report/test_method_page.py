"""What a method's page says of the method: read off its file, its checks, its weights and its cost."""

import hashlib
import html
import re
from pathlib import Path

import pytest

import imssl.methods
from bench.report.pages.method_source import method_source
from tests.bench.report.reading import table_of

METHODS = Path(imssl.methods.__file__).parent
FILES = sorted(path for path in METHODS.glob("[!_]*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_parameter_of_the_suites_methods_has_a_meaning_and_every_citation_a_link(file):
    source = method_source(file)
    assert source.about
    assert "Attributes:" not in source.text or source.meanings
    if "et al. 20" in source.about[0] or "and He 20" in source.about[0]:
        assert source.papers
    assert all(address.startswith("https://") for _, address in source.papers)


def test_meanings_come_from_the_file_and_those_it_derives_from():
    meanings = method_source(METHODS / "moco_mse.py").meanings
    assert meanings["temperature"] == "of the softmax."
    assert meanings["block_grids"].startswith("side to which the maps of blocks 1 to 4")
    assert meanings["block_grids"].endswith("places in the maps do not correspond.")


def test_marks_of_code_in_docstrings_do_not_reach_the_page(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(
        '"""Like ``moco`` with `more`."""\nclass OwnSettings:\n'
        '    """Settings.\n\n    Attributes:\n        head: ``mlp`` (v2) or\n'
        '            ``linear``.\n    """\n'
    )
    source = method_source(file)
    assert source.about[0] == "Like moco with more."
    assert source.meanings == {"head": "mlp (v2) or linear."}
    for suite_file in FILES:
        own = method_source(suite_file)
        assert "`" not in "".join([*own.about, *own.meanings.values()])


def test_a_file_of_a_user_is_read_and_never_imported(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(
        '"""My idea (Nobody 2026,\nhttps://example.org/paper.pdf).\n\nMore."""\nraise SystemExit(3)\n'
        "class OwnSettings:\n"
        '    """Settings.\n\n    Attributes:\n        weight: of the term,\n            above 0.\n    """\n'
        'class Own:\n    """Pulls things together."""\n    settings_class = OwnSettings\n'
    )
    source = method_source(file)
    assert source.about == (
        "My idea (Nobody 2026, https://example.org/paper.pdf).",
        "Pulls things together.",
    )
    assert source.papers == (("https://example.org/paper.pdf",) * 2,)
    assert source.meanings == {"weight": "of the term, above 0."}
    file.write_bytes(b"\xff no Python (")
    assert method_source(file).about == ()


def test_the_page_holds_the_file_its_checksum_weights_and_cost(run):
    page = (run / "reports" / "methods" / "moco.html").read_text(encoding="utf-8")
    content = (METHODS / "moco.py").read_bytes()
    assert hashlib.sha256(content).hexdigest() in page
    assert html.unescape(page).count(content.decode()) == 1
    assert 'href="https://arxiv.org/abs/1911.05722"' in page
    assert "of the softmax." in table_of(page, "settings")
    # Those made-up records that do not say it are of an earlier version.
    assert "not recorded" in table_of(page, "costs")


def test_without_a_p_no_comma_waits_for_one(run):
    page = (run / "reports" / "methods" / "random-init.html").read_text(encoding="utf-8")
    # Two seeds are too few for a p.
    differences = re.findall(r"<small>([^<]* to moco[^<]*)</small>", table_of(page, "standing-finetune"))
    assert differences
    assert [words for words in differences if not words.endswith(" to moco")] == []


@pytest.mark.parametrize("width", [375, 1280])
def test_no_column_of_the_standings_is_cut_off(visit, width):
    page = visit("methods/moco.html", viewport={"width": width, "height": 800})
    cut = page.evaluate(
        """() => [...document.querySelectorAll(".standings .scroll")]
            .filter((box) => box.scrollWidth > box.clientWidth + 1).map((box) => box.ariaLabel)"""
    )
    assert cut == []
    last = page.locator(".standings tr.columns th:last-child").first
    last.scroll_into_view_if_needed()
    box = last.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
