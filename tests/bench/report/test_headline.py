"""The first lines: who is ahead, whether that is more than chance, and on how much that stands."""

import pytest

from bench.analysis.analyse import analyse
from bench.report.answer.headline import headline, lead_of
from bench.report.view import view_of


@pytest.fixture
def view(protocol_of, results_of, summary_of):
    def make(skills, seeds=3, holes=None):
        protocol = protocol_of(methods=list(skills), seeds=range(seeds))
        summary = summary_of(protocol, results_of(protocol, lambda cell, _: skills[cell.method], holes))
        return view_of(summary, analyse(summary))

    return make


def test_one_far_ahead_is_named_with_what_it_stands_on(view):
    made = view({"random-init": 0.1, "moco": 4.0, "moco-mse": 0.5})
    answer = headline(made).answer
    assert answer.startswith("moco is ahead beyond chance in fine-tuning, ")
    assert answer.endswith(": 2 data sets, 3 seeds and 60 test patients.")
    assert dict(headline(made).evaluations)["Fine-tuning of all weights"].endswith(
        "; moco-mse is worse beyond chance; moco and moco-mse are better than the stronger untrained "
        "reference (random-init) beyond chance."
    )


def test_two_seeds_tell_nobody_apart_and_a_reference_above_all_is_said(view):
    made = view({"random-init": 4.0, "moco": 1.0, "moco-mse": 0.5}, seeds=2)
    answer = headline(made).answer
    assert answer.startswith(
        "No method can be distinguished from the best: 2 data sets, 2 seeds and 60 test patients."
    )
    assert (
        "no method scores above the stronger untrained reference (random-init), with too few seeds to tell."
        in answer
    )
    assert made.methods[0] == "random-init"
    assert lead_of(made, "probe").first == ["moco"]


def test_two_level_with_each_other_and_ahead_of_a_third_are_not_called_level_with_all(view):
    made = view({"random-init": 0.1, "moco": 4.0, "moco-mse": 4.0, "moco-barlow": 0.5})
    assert lead_of(made, "finetune").behind == ["moco-barlow"]
    answer = headline(made).answer
    assert answer.startswith("No method is ahead of all others beyond chance: 2 data sets, 3 seeds")


@pytest.mark.parametrize(
    ("moco", "says"),
    [
        (0.2, "every method is worse than the stronger untrained reference (random-init) beyond chance"),
        (1.02, "no method can be told to be better than the stronger untrained reference (random-init)"),
    ],
)
def test_a_reference_is_no_better_by_a_point_estimate(view, moco, says):
    """The words follow the tests; before, a mean score of .001 above decided."""
    answer = headline(view({"random-init": 1.0, "moco": moco, "moco-mse": 0.1})).answer
    assert says in answer
    assert "no method scores above the reference" not in answer
