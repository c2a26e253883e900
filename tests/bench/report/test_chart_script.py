"""The script in the pages is the bundler's own, whatever lies in the project's folder."""

import hashlib
from importlib.metadata import version

import pytest

from bench.report.charts.vega import BUNDLES, chart_script


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chart_script.cache_clear()
    yield tmp_path / ".bench" / "scripts" / f"vega-of-vl-convert-{version('vl-convert-python')}.js"
    chart_script.cache_clear()


def test_a_planted_script_is_bundled_again_whatever_checksum_it_bears(file):
    """Its own checksum, as earlier versions wrote it above the script, vouches for nothing."""
    planted = "alert(1);"
    file.parent.mkdir(parents=True)
    file.write_text(f"{hashlib.sha256(planted.encode()).hexdigest()}\n{planted}")
    assert "vegaEmbed" in chart_script()
    assert "alert(1)" not in chart_script()
    # Of a bundler whose checksum the code does not name nothing is kept, nor read.
    assert (file.read_text() == chart_script()) == (version("vl-convert-python") in BUNDLES)


def test_the_bundle_has_the_checksum_that_the_code_names(file):
    checksum = hashlib.sha256(chart_script().encode()).hexdigest()
    assert BUNDLES.get(version("vl-convert-python"), checksum) == checksum


def test_of_an_unknown_bundler_nothing_is_kept(file, monkeypatch):
    monkeypatch.setattr("bench.report.charts.vega.BUNDLES", {})
    file.parent.mkdir(parents=True)
    file.write_text("alert(1);")
    assert "alert(1)" not in chart_script()
