from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.cells import store
from bench.cells.keys import Keys
from bench.cells.method_facts import method_facts
from bench.cells.records import provenance
from bench.forecast.estimate import FIXED, FORWARD, RunEstimate, image_counts
from bench.protocol.cell import Cell, all_cells
from bench.protocol.protocol import Protocol, read_protocol
from imssl.settings.labels import LabelSet


def keep(cell: Cell, protocol: Protocol, seconds: float) -> None:
    key = Keys(protocol).key(cell)
    with store.writing(cell, key) as folder:
        store.keep(folder, cell, key, provenance(datetime.now(UTC), seconds, "CPU", "dvc repro"))


def test_before_anything_is_prepared_there_is_an_estimate_of_everything(project: Path):
    protocol = read_protocol()
    estimate = RunEstimate(Keys(protocol))
    assert estimate.cells == list(all_cells(protocol))
    assert estimate.total == estimate.seconds_left > 0
    assert min(estimate.seconds(cell) for cell in estimate.cells) > 0


def test_more_work_is_more_time(prepared_project, edited):
    def seconds(protocol: Protocol, cell: Cell) -> float:
        return RunEstimate(Keys(protocol)).seconds(cell)

    protocol = read_protocol()
    pretrain = Cell("pretrain", "chest", "moco", 0)
    few, all_labels = (Cell("finetune", "chest", "moco", 0, LabelSet(fraction)) for fraction in (0.5, 1.0))
    assert seconds(protocol, Cell("pretrain", "chest", "random-init", 0)) < seconds(protocol, pretrain)
    assert seconds(protocol, few) < seconds(protocol, all_labels)
    # Three labels of each of the five findings; a set cannot have more than there are images.
    estimate = RunEstimate(Keys(protocol))
    labelled = {k: estimate.size(Cell("frozen", "chest", "moco", 0, LabelSet(per_class=k))).labelled
                for k in (3, 1000)}  # fmt: skip
    assert labelled == {3: 15, 1000: image_counts("chest", protocol)["train"]}
    longer = edited("epochs: 2\n", "epochs: 20\n")
    images = image_counts("chest", protocol)["train"]
    once = FIXED + 3.25 * images * FORWARD  # files, and batch norm that is filled at the end
    assert seconds(longer, pretrain) - once == pytest.approx(10 * (seconds(protocol, pretrain) - once))


def test_a_pass_over_clean_images_after_each_of_two_epochs_is_counted(prepared_project, monkeypatch):
    protocol, cell = read_protocol(), Cell("pretrain", "chest", "moco", 0)
    without = RunEstimate(Keys(protocol)).seconds(cell)
    facts = method_facts(protocol)
    changed = facts | {"moco": replace(facts["moco"], takes_clean_pass=True)}
    monkeypatch.setattr("bench.forecast.estimate.method_facts", lambda protocol: changed)
    images = image_counts("chest", protocol)["train"]
    assert RunEstimate(Keys(protocol)).seconds(cell) - without == pytest.approx(2 * images * FORWARD)
    assert not any(of_method.takes_clean_pass for of_method in facts.values())


def test_filling_batch_norm_and_validation_labels_are_counted(prepared_project, edited):
    edited("  random-init: {}\n", "  random-init: {}\n  random-init-filled: {}\n")
    protocol = read_protocol()
    images = image_counts("chest", protocol)
    estimate = RunEstimate(Keys(protocol))

    def seconds(method: str) -> float:
        return estimate.seconds(Cell("pretrain", "chest", method, 0))

    filling = seconds("random-init-filled") - seconds("random-init")
    assert 3.1 <= filling / (FORWARD * images["train"]) <= 3.4  # as measured
    unfilled = protocol.model_copy(
        update={"pretrain": protocol.pretrain.model_copy(update={"fill_batch_norm": False})}
    )
    saved = seconds("moco") - RunEstimate(Keys(unfilled)).seconds(Cell("pretrain", "chest", "moco", 0))
    assert saved == pytest.approx(filling)
    half = Cell("finetune", "chest", "moco", 0, LabelSet(0.5))
    chosen_on_all = RunEstimate(Keys(protocol.model_copy(update={"validation_labels": "all"})))
    more = images["val"] - round(0.5 * images["val"])
    assert chosen_on_all.seconds(half) - estimate.seconds(half) == pytest.approx(FORWARD * more)


def test_measured_cells_give_the_rate_of_their_like_and_of_the_unknown(prepared_project):
    protocol = read_protocol()
    nothing = RunEstimate(Keys(protocol))
    first, second = Cell("pretrain", "chest", "moco", 0), Cell("pretrain", "fundus", "moco", 0)
    keep(first, protocol, 1000 * nothing.seconds(first))
    estimate = RunEstimate(Keys(protocol))
    assert estimate.is_done(first)
    assert not estimate.is_done(second)
    assert estimate.seconds(first) == pytest.approx(1000 * nothing.seconds(first), abs=1e-3)
    assert estimate.seconds(second) == pytest.approx(1000 * nothing.seconds(second), rel=1e-3)
    probe = Cell("probe", "chest", "moco", 0)
    assert estimate.seconds(probe) == pytest.approx(1000 * nothing.seconds(probe), rel=1e-3)
    assert estimate.total - estimate.seconds_left == pytest.approx(estimate.seconds(first))


def test_a_cell_that_ends_moves_the_estimate(prepared_project):
    protocol = read_protocol()
    estimate = RunEstimate(Keys(protocol))
    cells = [cell for cell in estimate.cells if cell.stage == "ks"]
    before = estimate.seconds(cells[1])
    estimate.done(cells[0], 7.0)
    assert estimate.seconds(cells[1]) == pytest.approx(7.0) != before  # a stage of equal cells
    for cell in estimate.cells:
        estimate.done(cell, 1.0)
    assert estimate.seconds_left == 0
    assert estimate.total == len(estimate.cells)


def test_rates_are_sums_over_sums_however_cells_end_and_are_corrected(prepared_project):
    estimate = RunEstimate(Keys(read_protocol()))
    took = {}
    for number, cell in enumerate(estimate.cells[::3]):
        for seconds in (5.0, 1.0 + number % 7):  # the second of them replaces the first
            estimate.done(cell, seconds)
        took[cell] = seconds
    for cell in set(estimate.cells) - took.keys():
        alike = [other for other in took if other.stage == cell.stage]
        rate = sum(took[other] for other in alike) / sum(map(estimate.expected_seconds, alike))
        assert estimate.seconds(cell) == pytest.approx(rate * estimate.expected_seconds(cell))


def test_a_damaged_record_is_no_measurement(prepared_project):
    protocol = read_protocol()
    cell = Cell("ks", "chest", "moco", 0)
    keep(cell, protocol, 50.0)
    (store.cell_folder(cell, Keys(protocol).key(cell)) / "cell.json").write_text("{")
    estimate = RunEstimate(Keys(protocol))
    assert not estimate.is_done(cell)
    assert estimate.seconds(cell) == pytest.approx(FIXED)
