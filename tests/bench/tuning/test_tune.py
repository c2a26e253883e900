"""Real searches on tiny data: cells in the store, params.yaml and its comments, the table, the report."""

from dataclasses import replace

import pandas as pd
import pytest

from bench.methods.tuned import TuningState, trials_file, tuning_of
from bench.protocol.protocol import read_protocol
from bench.protocol.registry import load_method
from bench.report.pages.background import tuning_words, warnings
from bench.summary.read import read_results
from bench.tuning import trial
from bench.tuning.search import Judged
from bench.tuning.tune import tune_method
from imssl.errors import UserError


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
    assert len(lines) == len(tuned.trials) == 3
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
    assert tuning_of("moco", read_protocol()) == TuningState(3, True)


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


def test_the_score_is_of_validation_images_alone(short, monkeypatch):
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
        monkeypatch.setattr(trial.store, "finished", lambda cell, key: None)
        scores.append(trial.judged("moco", short).scores)
    assert scores[0] == scores[1]
    assert all(0 <= score <= 1 for score in scores[0].values())


def of_temperature(method, protocol):
    """Highest for a low temperature, without training."""
    temperature = load_method(method, protocol).settings.temperature
    return Judged(dict.fromkeys(protocol.datasets, 1 - temperature))


def test_a_change_afterwards_and_unequal_budgets_are_said(short, project, monkeypatch):
    monkeypatch.setattr("bench.tuning.tune.judged", of_temperature)
    assert tuning_words(read_protocol()) == {
        "random-init": "", "moco": "not tuned here", "moco-barlow": "not tuned here",
    }  # fmt: skip
    assert "tuned alike" not in " ".join(warnings(read_protocol(), read_results(read_protocol())))
    tune("moco", budget=6)
    assert tuning_words(read_protocol())["moco"] == "6 trials"
    found = [
        line for line in warnings(read_protocol(), read_results(read_protocol())) if "tuned alike" in line
    ]
    assert len(found) == 1
    assert "moco: 6 trials; moco-barlow: not tuned here" in found[0]
    tune("moco-barlow", budget=6)
    assert "tuned alike" not in " ".join(warnings(read_protocol(), read_results(read_protocol())))
    chosen = load_method("moco", read_protocol()).settings.temperature
    file = project / "params.yaml"
    file.write_text(file.read_text().replace(f"temperature: {chosen}   # as", "temperature: 0.4   # as"))
    assert tuning_words(read_protocol())["moco"] == "6 trials, but its values were changed since"
    assert any("tuned alike" in line for line in warnings(read_protocol(), read_results(read_protocol())))


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
    assert tuning_of("moco", read_protocol()) == TuningState(9, True)


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
