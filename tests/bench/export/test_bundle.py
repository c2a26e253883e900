"""``bench export``: what is in the archive, that it is always the same, and its Croissant metadata."""

import shutil
import zipfile
from dataclasses import replace

import mlcroissant
import pandas as pd
import pytest

from bench.export import bundle
from bench.export.bundle import export
from imssl.datasets.phantom import source
from imssl.datasets.prepare import prepare
from imssl.errors import UserError


@pytest.fixture(scope="module")
def archive(view, folder, tmp_path_factory):
    file = tmp_path_factory.mktemp("archive") / "run.zip"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder[0])
        # The charts have their own tests, and take most of the time.
        patch.setattr(bundle, "write_charts", one_chart)
        notes = export(view, file)
        again = file.with_name("again.zip")
        export(view, again)
    return file, again, notes


def one_chart(view, folder):
    (folder / "chart.svg").write_text("<svg/>")
    return ["no other chart"]


def test_what_a_reviewer_needs_is_in_it(archive, folder):
    file, _, notes = archive
    with zipfile.ZipFile(file) as packed:
        assert packed.testzip() is None
        names = set(packed.namelist())
        assert packed.read("params.yaml") == (folder[0] / "params.yaml").read_bytes()
        results = folder[0] / "reports" / "results.csv"
        assert packed.read("reports/results.csv") == results.read_bytes()
        assert b"| moco-barlow |" in packed.read("tables/scores.md")
    assert {
        "README.md", "croissant.json", "dvc.lock", "cards/phantom-chest.json", "charts/chart.svg",
        "tables/scores.tex", "reports/leaderboard.html", "reports/results.json", "reports/metrics.json",
        "reports/methods/moco.html", "reports/datasets/phantom-fundus.html", "methods/moco_barlow.py",
    } <= names  # fmt: skip
    assert "reports/plots.html" not in names
    assert notes == ["no other chart", "dvc.yaml: not in it, as this folder has none"]


def test_images_without_a_licence_to_pass_them_on_stay_here(view, folder, tmp_path, monkeypatch):
    project = tmp_path / "project"
    shutil.copytree(folder[0], project)
    for name, kind, channels in (("phantom-chest", "chest", 1), ("phantom-fundus", "fundus", 3)):
        images, place = source(kind, 12, 32, 0), project / "data" / name
        shutil.rmtree(place)
        prepare(
            images,
            name=name,
            size=32,
            channels=channels,
            split_seed=0,
            on_bad_image="skip",
            folder=place,
            threads=1,
        )
    monkeypatch.chdir(project)
    monkeypatch.setattr(bundle, "write_charts", one_chart)
    pages = {path: path.read_bytes() for path in (project / "reports").rglob("*.html")}
    cards = dict(view.summary.results.cards)
    changed = {"synthetic": False, "licence": "ask the hospital"}
    cards["phantom-chest"] = cards["phantom-chest"].model_copy(update=changed)
    results = replace(view.summary.results, cards=cards)
    notes = export(replace(view, summary=replace(view.summary, results=results)), tmp_path / "run.zip")
    assert any(note.startswith("images of phantom-chest: not in it") for note in notes)
    with zipfile.ZipFile(tmp_path / "run.zip") as packed:
        leaderboard = packed.read("reports/leaderboard.html").decode()
    assert "Training image 1 of phantom-fundus" in leaderboard
    assert "Training image 1 of phantom-chest" not in leaderboard
    assert {path: path.read_bytes() for path in pages} == pages


def test_equal_runs_give_equal_bytes(archive):
    assert archive[0].read_bytes() == archive[1].read_bytes()


def test_croissant_is_valid_and_reads_the_results(archive, folder, tmp_path):
    with zipfile.ZipFile(archive[0]) as packed:
        packed.extractall(tmp_path)
    dataset = mlcroissant.Dataset(jsonld=tmp_path / "croissant.json")
    assert not dataset.metadata.ctx.issues.errors
    assert dataset.metadata.date_published is not None
    records = list(dataset.records("results"))
    table = pd.read_csv(folder[0] / "reports" / "results.csv")
    assert len(records) == len(table)
    values = [record["results/value"] for record in records]
    pd.testing.assert_series_equal(pd.Series(values, dtype=float, name="value"), table["value"])
    assert [record["results/method"].decode() for record in records] == list(table["method"])


def test_a_place_that_cannot_be_written_is_refused(view, tmp_path):
    for place in (tmp_path, tmp_path / "none" / "run.zip"):
        with pytest.raises(UserError, match="Name a file"):
            export(view, place)
