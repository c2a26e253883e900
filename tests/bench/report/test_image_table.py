"""The per-image view, confusion matrices and AUROC by class of a data set's page, against scikit-learn."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix, roc_auc_score

from bench.cells.files import data_folder
from bench.protocol.cell import Cell
from bench.report.layout import number
from bench.report.material.tested_runs import tested_runs as runs_of  # pytest collects what begins with test
from bench.report.tables.by_class import class_tables
from bench.report.tables.image_table import image_table
from bench.summary.read import read_results
from bench.summary.summary import summarise
from imssl.datasets.prepared import Prepared
from imssl.settings.labels import LabelSet
from tests.bench.small_run import CHEST, FUNDUS, card, labels_of, probabilities_of, small_protocol

METHODS = ["random-init", "moco"]


@pytest.fixture(scope="module")
def summary(run):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(run)
        return summarise(small_protocol(), read_results(small_protocol()))


def seeds_of(dataset, method):
    return np.stack([probabilities_of(Cell("finetune", dataset, method, s, LabelSet(1.0))) for s in (0, 1)])


def test_images_that_most_methods_miss_come_first(summary):
    table = image_table(runs_of(summary, FUNDUS, METHODS), summary.protocol.report.thumbnails, True)
    labels = labels_of(FUNDUS)
    means = {method: seeds_of(FUNDUS, method).mean(axis=0) for method in METHODS}
    missed = np.sum([mean.argmax(axis=1) != labels for mean in means.values()], axis=0)
    by_id = {f"i{i}": i for i in range(40)}
    shown = [by_id[row.label] for row in table.rows]
    assert sorted(shown) == list(range(40))
    assert missed[shown].tolist() == sorted(missed, reverse=True)
    assert f"every method misses {(missed == 2).sum()}, and none misses {(missed == 0).sum()}." in table.note
    classes, first, last = card(FUNDUS).classes, shown[0], shown[-1]
    assert table.rows[0].entries[0].text == classes[labels[first]]
    assert [table.rows[0].entries[1].text, table.rows[-1].entries[1].text] == ["all", f"{missed[last]}"]
    for column, method in enumerate(METHODS, 2):
        entry, guess = table.rows[0].entries[column], means[method][first].argmax()
        assert entry.text == number(means[method][first, labels[first]], 2)
        assert entry.small == (f"{classes[guess]} {number(means[method][first, guess], 2)}",)


def test_an_image_of_several_labels_names_those_that_are_wrong(summary):
    table = image_table(runs_of(summary, CHEST, METHODS), summary.protocol.report.thumbnails, True)
    labels, mean = labels_of(CHEST), seeds_of(CHEST, "moco").mean(axis=0)
    for row in table.rows:
        image = int(row.label[1:])
        wrong = (mean[image] >= 0.5) != (labels[image] == 1)
        assert row.entries[3].text == (f"{wrong.sum()} wrong" if wrong.any() else "right")
        assert len(row.entries[3].small) == (wrong | (labels[image] == 1)).sum()


def test_a_method_that_lacks_a_seed_is_named(summary):
    hole = Cell("finetune", FUNDUS, "moco", 1, LabelSet(1.0))
    predictions = {key: run for key, run in summary.results.predictions.items() if key[0] != hole}
    lacking = dataclasses.replace(
        summary, results=dataclasses.replace(summary.results, predictions=predictions)
    )
    assert (
        "Left out, for want of a seed: moco."
        in image_table(runs_of(lacking, FUNDUS, METHODS), lacking.protocol.report.thumbnails, True).note
    )
    assert [
        method for method, _ in class_tables(runs_of(lacking, FUNDUS, METHODS), lacking.protocol.report.level)
    ] == ["random-init"]


def test_pictures_need_the_setting_the_licence_and_the_images(summary, monkeypatch):
    def with_thumbnails(wanted, **changes):
        report = summary.protocol.report.model_copy(update={"thumbnails": wanted})
        cards = summary.results.cards | {FUNDUS: card(FUNDUS).model_copy(update=changes)}
        changed = dataclasses.replace(
            summary,
            protocol=summary.protocol.model_copy(update={"report": report}),
            results=dataclasses.replace(summary.results, cards=cards),
        )
        runs = runs_of(changed, FUNDUS, METHODS)
        return lambda shows=True: image_table(runs, report.thumbnails, shows)

    samples = pd.DataFrame({"id": [f"i{i}" for i in range(40)], "split": "test"})
    images = np.zeros((40, 96, 64, 1), np.uint8)
    asked = []

    def read(folder):
        asked.append(folder)
        return Prepared(images, samples, card(FUNDUS))

    monkeypatch.setattr("bench.report.material.sample_images.read_prepared", read)
    private = {"synthetic": False, "licence": "research only"}
    for table, words in (
        (with_thumbnails(False)(), "report.thumbnails: true"),
        (with_thumbnails(True, **private)(), "the licence (research only)"),
        (with_thumbnails(True)(False), "the licence (CC0 & others)"),
    ):
        assert words in table.note
        assert not any(row.picture for row in table.rows)
    assert asked == []
    table = with_thumbnails(True)()
    assert asked == [data_folder(FUNDUS)]
    assert {(row.picture.width, row.picture.height) for row in table.rows} == {(32, 48)}
    assert all(row.picture.address.startswith("data:image/png;base64,") for row in table.rows)


def test_confusion_matrix_is_scikit_learns_mean_over_the_seeds(summary):
    ((_, table),) = class_tables(runs_of(summary, FUNDUS, ["moco"]), summary.protocol.report.level)
    matrices = [
        confusion_matrix(labels_of(FUNDUS), run.argmax(axis=1), labels=range(3))
        for run in seeds_of(FUNDUS, "moco")
    ]
    shown = [[float(entry.text) for entry in row.entries] for row in table.rows]
    np.testing.assert_allclose(shown, np.mean(matrices, axis=0))


def test_auroc_by_class_is_scikit_learns_mean_over_the_seeds(summary):
    ((_, table),) = class_tables(runs_of(summary, CHEST, ["moco"]), summary.protocol.report.level)
    for column in (0, 1):
        truth = labels_of(CHEST)[:, column]
        values = [roc_auc_score(truth, run[:, column]) for run in seeds_of(CHEST, "moco")]
        entry, images = table.rows[column].entries
        assert entry.text == number(np.mean(values))
        assert len(entry.small) == 1
        assert images.text == f"{truth.sum()}"
    assert table.rows[2].entries[0].text == "undefined"


def test_the_page_of_a_data_set_has_both(run):
    page = (run / "reports" / "datasets" / f"{FUNDUS}.html").read_text(encoding="utf-8")
    assert f'<table id="images-{FUNDUS}"' in page
    assert f'<table id="confusion-{FUNDUS}-moco"' in page
