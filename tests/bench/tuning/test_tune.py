"""Real searches on tiny data: cells in the store, params.yaml and its comments, the table, the report."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from typer.testing import CliRunner

from bench.cells.encoders import load_encoder
from bench.cells.files import HISTORY_FILE, data_folder
from bench.cells.keys import Keys
from bench.cells.store import cell_folder
from bench.cli import app
from bench.launch.compute import compute_cell
from bench.methods.tuned import TuningState, trials_file, tuning_of
from bench.protocol.cell import Cell
from bench.protocol.protocol import read_protocol
from bench.protocol.registry import load_method
from bench.report.pages.background import tuning_words, warnings
from bench.report.view import view_of_results
from bench.summary.read import read_results
from bench.tuning import trial
from bench.tuning.search import Judged
from bench.tuning.tune import tune_method
from imssl.datasets.prepared import read_prepared
from imssl.errors import UserError
from imssl.features import pooled_features


@pytest.fixture
def short(prepared_project, edited):
    """A protocol of a step a data set, with a comment on a line that will change."""
    edited("pretrain:\n  epochs: 2\n", "pretrain:\n  steps: 1\n")
    return edited(
        "  moco:\n    hidden: 16\n    dimension: 8\n    queue: 32\n    temperature: 0.2\n",
        "  moco:\n    hidden: 16\n    dimension: 8\n    queue: 32\n    temperature: 0.2   # as He et al.\n",
    )


def tune(method="moco", budget=3, seed=0):
    lines = []
    return tune_method(method, budget, seed, lines.append), lines


def test_a_search_is_kept_listed_and_entered(short, project):
    tuned, lines = tune()
    assert len(tuned.trials) == 3
    assert [line.partition(":")[0] for line in lines] == [
        "an untrained encoder", "trial 1 of 3", "trial 2 of 3", "trial 3 of 3"
    ]  # fmt: skip
    cells = sorted(folder.name for folder in (project / ".bench" / "cells" / "pretrain").iterdir())
    assert len(cells) == 3 * len(short.datasets)
    assert not list((project / ".bench").rglob("encoder.safetensors"))
    table = pd.read_csv(trials_file("moco"))
    assert table["trial"].tolist() == [1, 2, 3]
    assert table["chosen"].sum() == 1
    assert table["score"].idxmax() == table["chosen"].idxmax() == tuned.chosen.number
    both = table[["score on chest", "score on fundus"]].mean(axis=1)
    assert both.tolist() == pytest.approx(table["score"].tolist())

    # What was chosen is what params.yaml says now, and what the leaderboard knows.
    after = load_method("moco", read_protocol())
    assert after.settings.temperature == tuned.chosen.values["temperature"]
    assert after.optimisation.learning_rate == tuned.chosen.values["optimisation.learning_rate"]
    assert load_method("moco-barlow", read_protocol()).optimisation == short.pretrain.optimisation
    text = (project / "params.yaml").read_text()
    assert "# as He et al." in text
    assert "# A whole protocol that runs in seconds" in text
    best = table["score"].max()
    assert tuning_of("moco", read_protocol()) == TuningState(3, True, learns=bool(best > tuned.untrained))


def test_the_budget_is_that_of_params_yaml(short, edited, monkeypatch):
    monkeypatch.setattr("bench.tuning.tune.judged", of_temperature)
    edited("  trials: 20\n", "  trials: 4\n")
    assert len(tune(budget=None)[0].trials) == 4
    assert len(tune("moco-barlow", budget=2)[0].trials) == 2


def test_trials_may_be_shorter_than_runs(short, edited, project):
    edited("pretrain:\n  steps: 1\n", "pretrain:\n  epochs: 4\n")
    edited("  trials: 20\n", "  trials: 1\n  length: 0.5\n")
    tune(budget=None)
    histories = list((project / ".bench" / "cells" / "pretrain").rglob(HISTORY_FILE))
    assert len(histories) == len(short.datasets)
    assert {int(pd.read_csv(history)["epoch"].max()) for history in histories} == {2}
    assert pd.read_csv(trials_file("moco"))["length"].tolist() == [0.5]
    state = tuning_of("moco", read_protocol())
    assert replace(state, learns=None) == TuningState(1, True, lengths=(0.5,))
    assert state.words.startswith("1 trial at 50% of the length")


def features_and_labels(cell, protocol):
    """Of the encoder that the stage computes: features and labels of both splits, and how many classes."""
    keys = Keys(protocol)
    compute_cell(cell, keys, lambda done, steps: None)
    prepared = read_prepared(data_folder(cell.dataset))
    encoder = load_encoder(cell_folder(cell, keys.key(cell)), protocol, prepared)
    rows = {split: prepared.indices(split) for split in ("train", "val")}
    features = [pooled_features(encoder, prepared, own, torch.device("cpu"))[-1] for own in rows.values()]
    labels = {split: prepared.labels()[own] for split, own in rows.items()}
    return features, labels, len(prepared.card.classes)


def test_an_untrained_encoder_is_judged_like_the_trials(short, edited):
    """By the protocol's own random encoder, and a plain formula for its neighbours."""
    assert set(trial.untrained(short).scores) == {"chest", "fundus"}
    cell = Cell("pretrain", "fundus", "random-init", trial.SEED)
    (train, validation), labels, classes = features_and_labels(cell, short)
    train, validation = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (train, validation))
    similarity = validation @ train.T
    votes = np.zeros((len(validation), classes))
    for row, near in enumerate(np.argsort(-similarity, axis=1)[:, :20]):
        for neighbour in near:
            votes[row, int(labels["train"][neighbour])] += np.exp(similarity[row, neighbour] / 0.1)
    shares = votes / votes.sum(1, keepdims=True)
    aurocs = [
        roc_auc_score(labels["val"] == grade, shares[:, grade])
        for grade in range(votes.shape[1])
        if 0 < (labels["val"] == grade).mean() < 1
    ]
    assert trial.untrained(short).scores["fundus"] == pytest.approx(np.mean(aurocs), abs=1e-6)
    linear = edited("  judge: knn\n", "  judge: linear\n")
    assert trial.untrained(linear).scores != trial.untrained(short).scores


@pytest.mark.parametrize(("reference", "says"), [(0.99, True), (0.01, False)])
def test_a_search_in_which_nothing_learns_says_so(short, monkeypatch, reference, says):
    monkeypatch.setattr("bench.tuning.tune.judged", of_temperature)
    monkeypatch.setattr("bench.tuning.tune.untrained", lambda _: Judged({"chest": reference}))
    result = CliRunner().invoke(app, ["tune", "moco", "--trials", "2"])
    assert result.exit_code == 0, result.output
    assert ("no trial shows moco to learn" in result.output) == says
    words = tuning_of("moco", read_protocol()).words
    assert words == "2 trials" + (", none better than an untrained encoder" if says else "")


def test_a_linear_classifier_judges_as_scikit_learns_does(short, edited):
    protocol = edited("  judge: knn\n", "  judge: linear\n")
    outcome = trial.judged("moco", protocol)
    # The same encoder by the stage, which keeps it.
    cell = Cell("pretrain", "chest", "moco", trial.SEED)
    (train, validation), labels, _ = features_and_labels(cell, protocol)
    expected = []
    scaler = StandardScaler().fit(train)
    for strength in protocol.linear.l2:
        aurocs = []
        for own, other in zip(labels["train"].T, labels["val"].T, strict=True):
            if 0 < other.mean() < 1 and 0 < own.mean() < 1:
                weights = "balanced" if protocol.linear.class_weights == "balanced" else None
                model = LogisticRegression(
                    C=1 / (strength * len(own)), class_weight=weights, max_iter=5000, tol=1e-8
                )
                model.fit(scaler.transform(train), own)
                aurocs.append(roc_auc_score(other, model.decision_function(scaler.transform(validation))))
        expected.append(np.mean(aurocs))
    assert outcome.scores["chest"] == pytest.approx(max(expected), abs=0.02)


def test_the_leaderboard_warns_where_the_judges_differ(short, edited, monkeypatch):
    monkeypatch.setattr("bench.tuning.tune.judged", of_temperature)
    tune("moco", budget=2)
    edited("  judge: knn\n", "  judge: linear\n")
    tune("moco-barlow", budget=2)
    protocol = read_protocol()
    assert tuning_of("moco-barlow", protocol).judges == ("linear",)
    (warning,) = [line for line in warnings(view_here()) if "tuned alike" in line]
    assert "moco: 2 trials; moco-barlow: 2 trials judged by linear" in warning


def test_the_same_search_again_computes_nothing(short, monkeypatch):
    before = short
    first, _ = tune(budget=2)

    def compute(*_arguments):
        raise AssertionError("computed again")

    monkeypatch.setattr(trial, "compute", compute)
    # As after a stop: params.yaml is still as it was.
    monkeypatch.setattr("bench.tuning.tune.read_protocol", lambda: before)
    again, _ = tune(budget=2)
    assert again.trials == first.trials


def test_the_score_is_of_validation_images_alone(short, project, monkeypatch):
    """Test images and their labels may be anything."""
    scores = []
    real = vars(trial.Job)["prepared"]
    for scrambled in (False, True):

        def prepared(job, scrambled=scrambled):
            given = real.func(job)
            if not scrambled:
                return given
            images = given.images.copy()
            images[given.indices("test")] = 255
            return replace(given, images=images)

        monkeypatch.setattr(trial.Job, "prepared", property(prepared))
        scores.append(trial.judged("moco", short).scores)
        # The next one is computed, not read: these cells are there, and go.
        shutil.rmtree(project / ".bench" / "cells" / "pretrain")
    assert scores[0] == scores[1]
    assert all(0 <= score <= 1 for score in scores[0].values())


def view_here():
    """Of this folder, where nothing has run."""
    protocol = read_protocol()
    return view_of_results(protocol, read_results(protocol))


def of_temperature(method, protocol):
    """Highest for a low temperature, without training."""
    temperature = load_method(method, protocol).settings.temperature
    return Judged(dict.fromkeys(protocol.datasets, 1 - temperature))


def test_a_change_afterwards_and_unequal_budgets_are_said(short, project, monkeypatch):
    monkeypatch.setattr("bench.tuning.tune.judged", of_temperature)
    assert tuning_words(view_here()) == {
        "random-init": "", "moco": "not tuned here", "moco-barlow": "not tuned here",
    }  # fmt: skip
    assert "tuned alike" not in " ".join(warnings(view_here()))
    tune("moco", budget=6)
    assert tuning_words(view_here())["moco"] == "6 trials"
    found = [line for line in warnings(view_here()) if "tuned alike" in line]
    assert len(found) == 1
    assert "moco: 6 trials; moco-barlow: not tuned here" in found[0]
    tune("moco-barlow", budget=6)
    assert "tuned alike" not in " ".join(warnings(view_here()))
    chosen = load_method("moco", read_protocol()).settings.temperature
    file = project / "params.yaml"
    file.write_text(file.read_text().replace(f"temperature: {chosen}   # as", "temperature: 0.4   # as"))
    assert tuning_words(view_here())["moco"] == "6 trials, but its values are not those that were chosen"
    assert any("tuned alike" in line for line in warnings(view_here()))


def test_a_second_search_is_counted_on_top_of_the_first(short, monkeypatch):
    monkeypatch.setattr("bench.tuning.tune.judged", of_temperature)
    first, _ = tune(budget=6)
    assert first.changed
    second, _ = tune(budget=4, seed=9)
    # It begins with what was chosen, which is one trial and not two.
    assert second.trials[0].values == first.chosen.values
    table = pd.read_csv(trials_file("moco"))
    assert table["trial"].tolist() == list(range(1, 10))
    assert table["chosen"].sum() == 1
    assert table["score"].idxmax() == table["chosen"].idxmax()
    assert replace(tuning_of("moco", read_protocol()), learns=None) == TuningState(9, True)


def test_when_all_trials_fail_params_yaml_stays(short, project, monkeypatch):
    monkeypatch.setattr(
        "bench.tuning.tune.judged", lambda method, protocol: Judged({"chest": None}, "diverged")
    )
    before = (project / "params.yaml").read_text()
    with pytest.raises(UserError, match="all 3 trials of moco failed"):
        tune()
    assert (project / "params.yaml").read_text() == before
    assert pd.read_csv(trials_file("moco"))["failure"].tolist() == ["diverged"] * 3


def test_a_diverged_trial_is_kept_as_failed(short, monkeypatch):
    from imssl.errors import Diverged

    def diverge(*_arguments):
        raise Diverged("the loss is not finite")

    with monkeypatch.context() as patch:
        patch.setattr(trial, "compute", diverge)
        outcome = trial.judged("moco", short)
    assert outcome.score is None
    assert outcome.failure == "chest: the loss is not finite; fundus: the loss is not finite"
    assert trial.judged("moco", short) == outcome


def test_a_value_that_a_data_set_has_of_its_own_is_not_searched(short, edited):
    edited(
        "    size: 16\n    channels: 1\n",
        "    size: 16\n    channels: 1\n    methods: {moco: {temperature: 0.1}}\n",
    )
    with pytest.raises(UserError, match=r"datasets\.chest\.methods\.moco\.temperature is set"):
        tune()


@pytest.mark.parametrize("method", ["dino", "random-init"])
def test_what_cannot_be_tuned_is_one_message(short, method):
    with pytest.raises(UserError, match=r"is not in params\.yaml|does not pretrain"):
        tune(method)
