"""Real pretraining on a data set with values of its own: they arrive, and are the same for every method."""

import sys

import pytest

import imssl.methods.moco
import imssl.queue
from bench.cells.files import HISTORY_FILE, METRICS_FILE, cell_path, read_json, read_table
from bench.launch.run_cells import run_cells
from bench.protocol.cell import Cell
from bench.stages import pretrain

CHEST = "    horizontal_flip: true\n    vertical_flip: false\n"


@pytest.fixture
def on_chest(prepared_project, edited, monkeypatch):
    """Pretrain methods on `chest`, with lines of its own, in this process."""
    monkeypatch.setenv("IMSSL_BENCH_WORKERS", "1")

    def go(lines, *methods):
        protocol = edited(CHEST, CHEST + lines)
        for method in methods:
            run_cells("pretrain", "chest", [method], protocol)

    return go


def images_seen(method):
    rows = read_json(cell_path(Cell("pretrain", "chest", method, 0)) / METRICS_FILE)
    return next(row["value"] for row in rows if row["metric"] == "images_seen")


def test_every_method_takes_the_steps_of_the_data_set(on_chest):
    on_chest("    pretrain: {steps: 3}\n    methods: {moco: {queue: 16}}\n", "moco", "moco-barlow")
    assert images_seen("moco") == images_seen("moco-barlow") == 3 * 16


def test_the_queue_is_that_of_the_data_set(on_chest, monkeypatch):
    queues, build = [], imssl.queue.KeyQueue

    def watched(length, dimension):
        queues.append(length)
        return build(length, dimension)

    monkeypatch.setattr(imssl.queue, "KeyQueue", watched)
    # moco-barlow takes moco's class from the module as it is imported now.
    monkeypatch.delitem(sys.modules, imssl.methods.moco.__name__)
    on_chest("    pretrain: {steps: 1}\n    methods: {moco: {queue: 8}}\n", "moco", "moco-barlow")
    assert queues == [8, 32]


def test_views_and_optimiser_are_those_that_were_asked_for(on_chest, project, monkeypatch):
    seen, real = [], pretrain.Recipe

    def watched(**arguments):
        seen.append(arguments)
        return real(**arguments)

    monkeypatch.setattr(pretrain, "Recipe", watched)
    file = project / "params.yaml"
    text = file.read_text()
    file.write_text(text.replace("  moco:\n", "  moco:\n    optimisation: {learning_rate: 0.004}\n"))
    on_chest("    pretrain: {steps: 1}\n    augmentation: {hue: 0.3}\n", "moco", "moco-barlow")
    assert [(each["augmentation"].hue, each["augmentation"].rotation_degrees) for each in seen] == [
        (0.3, 0.0)
    ] * 2
    assert [each["settings"].optimisation.learning_rate for each in seen] == [0.004, 0.03]
    history = read_table(cell_path(Cell("pretrain", "chest", "moco", 0)) / HISTORY_FILE)
    assert history["learning_rate"].tolist() == [0.004]
