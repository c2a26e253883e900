"""The first lines of the page: who is ahead, and whether that is more than chance."""

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from bench.analysis.ranking.against_untrained import STRONGER
from bench.report.layout import EVALUATIONS, listed, number, span
from bench.report.view import Record, View
from bench.summary.over_seeds import too_few_seeds

# More names than these are counted.
MOST_NAMED = 4


@dataclass(frozen=True)
class Headline:
    """The answer for the whole run.

    Attributes:
        answer: one sentence or two, in plain words.
        evaluations: name of each evaluation, and what is to be said of it.
    """

    answer: str
    evaluations: list[tuple[str, str]]


@dataclass(frozen=True)
class Lead:
    """Who is ahead in one evaluation.

    Attributes:
        evaluation: its id.
        first: methods with the highest mean score, as it is written; several where they are level.
        level_with: other methods that cannot be distinguished from these.
        behind: those that can.
        is_tested: whether there are enough seeds to tell.
        against: what can be said of the methods against each reference: the stronger untrained one, which
            validation images tell, and those that were trained.
        score: highest mean score with its interval, in figures.
    """

    evaluation: str
    first: list[str]
    level_with: list[str]
    behind: list[str]
    is_tested: bool
    against: dict[str, "Against"]
    score: str

    @property
    def is_ahead(self) -> bool:
        """Whether one method is ahead of every other beyond chance."""
        return self.is_tested and len(self.first) == 1 and not self.level_with and bool(self.behind)


@dataclass(frozen=True)
class Against:
    """The methods of one evaluation against one reference, by mean scores on the same patients.

    Attributes:
        better: methods that are better beyond chance, corrected for all methods.
        outcome: ``better``: some are; ``untold``: some score higher, and it cannot be told; ``none above``:
            none scores higher; ``worse``: all are worse beyond chance; ``few seeds``: none scores higher, and
            there are too few seeds to tell.
    """

    better: list[str]
    outcome: Literal["better", "untold", "none above", "worse", "few seeds", ""]


def headline(view: View) -> Headline:
    """The answer for the whole run, and for every evaluation."""
    leads = {evaluation: lead_of(view, evaluation) for evaluation in EVALUATIONS}
    sentences = [
        (EVALUATIONS[evaluation].title, _sentence(view, lead, evaluation))
        for evaluation, lead in leads.items()
    ]
    return Headline(_answer(view, [lead for lead in leads.values() if lead]), sentences)


def lead_of(view: View, evaluation: str) -> Lead | None:
    """Who is ahead in an evaluation; None where fewer than two methods have all results."""
    rows = [view.standings[evaluation, method] for method in view.methods]
    complete = [row for row in rows if not pd.isna(row["mean_score"])]
    ranked = [row for row in complete if not row["reference"]]
    if len(ranked) < 2:
        return None
    # Level is what the page writes alike: a winner by the fourth decimal is none.
    highest = max(ranked, key=lambda row: row["mean_score"])
    top = number(highest["mean_score"])
    first = [row["method"] for row in ranked if number(row["mean_score"]) == top]
    others = [row for row in ranked if row["method"] not in first]
    return Lead(
        evaluation=evaluation,
        first=first,
        level_with=[row["method"] for row in others if not row["worse"]],
        behind=[row["method"] for row in others if row["worse"]],
        is_tested=not any(pd.isna(row["p_best"]) for row in ranked),
        against=against_references(view, evaluation),
        score=_with_interval(highest),
    )


def against_references(view: View, evaluation: str) -> dict[str, Against]:
    """What can be said against each reference that has all results, by what a sentence calls it."""
    rows: dict[str, list[Record]] = {}
    for (of_evaluation, baseline, _), row in view.score_differences.items():
        if of_evaluation == evaluation and not pd.isna(row["effect"]):
            rows.setdefault(str(baseline), []).append(row)
    return {_reference_name(view, evaluation, name): _against(of_one) for name, of_one in rows.items()}


def _against(rows: list[Record]) -> Against:
    better = [row["method"] for row in rows if row["distinguishable"] and row["effect"] > 0]
    tested = not any(pd.isna(row["p"]) for row in rows)
    if better:
        return Against(better, "better")
    if any(row["effect"] > 0 for row in rows):
        return Against([], "untold" if tested else "")
    if all(row["distinguishable"] for row in rows):
        return Against([], "worse")
    return Against([], "none above" if tested else "few seeds")


def _reference_name(view: View, evaluation: str, baseline: str) -> str:
    if baseline != STRONGER:
        return f"the reference {baseline}"
    chosen = {
        str(row["baseline"]) for row in view.untrained_differences.values() if row["evaluation"] == evaluation
    }
    return f"{STRONGER} ({' or '.join(sorted(chosen))})"


def extent(view: View) -> str:
    """On what the answer stands: data sets, seeds and test patients."""
    protocol = view.summary.protocol
    tested = {
        place.dataset: (column.units, column.unit)
        for place, column in view.summary.columns.items()
        if column.units
    }
    words = [_counted(len(protocol.datasets), "data set"), _counted(len(protocol.seeds), "seed")]
    for unit, noun in (("patients", "test patient"), ("samples", "test image")):
        counts = [count for count, of_dataset in tested.values() if of_dataset == unit]
        if counts:
            words.append(_counted(sum(counts), noun))
    return listed(words)


def _answer(view: View, leads: list[Lead]) -> str:
    if not view.several:
        return f"There is one method, so nothing to compare: {extent(view)}."
    if not leads:
        return "Nobody is ahead yet: fewer than two methods have results on every data set."
    places: dict[str, list[str]] = {}
    for lead in leads:
        if lead.is_ahead:
            places.setdefault(lead.first[0], []).append(EVALUATIONS[lead.evaluation].within_sentence)
    ahead = [f"{method} is ahead beyond chance in {listed(where)}" for method, where in places.items()]
    undecided = [EVALUATIONS[lead.evaluation].within_sentence for lead in leads if not lead.is_ahead]
    if not ahead and any(lead.behind for lead in leads):
        answer = f"No method is ahead of all others beyond chance: {extent(view)}."
    elif not ahead:
        answer = f"No method can be distinguished from the best: {extent(view)}."
    elif undecided:
        nobody = f"in {listed(undecided)} no method is ahead of all others beyond chance"
        answer = f"{'; '.join(ahead)}; {nobody}: {extent(view)}."
    else:
        answer = f"{'; '.join(ahead)}: {extent(view)}."
    if len(view.summary.protocol.seeds) < view.summary.protocol.report.least_seeds:
        answer += (
            f" {too_few_seeds(len(view.summary.protocol.seeds), view.summary.protocol.report.least_seeds)}"
        )
    return answer + _references_above(leads)


OUTCOMES = {
    "untold": " In {where} no method can be told to be better than {reference}.",
    "none above": " In {where} no method scores above {reference}; not all can be told to be worse.",
    "worse": " In {where} every method is worse than {reference} beyond chance.",
    "few seeds": " In {where} no method scores above {reference}, with too few seeds to tell.",
}


def _references_above(leads: list[Lead]) -> str:
    """Where no method can be told to be better than a reference, which nothing was learnt for."""
    places: dict[tuple[str, str], list[str]] = {}
    for lead in leads:
        for reference, found in lead.against.items():
            if found.outcome in OUTCOMES:
                where = EVALUATIONS[lead.evaluation].within_sentence
                places.setdefault((found.outcome, reference), []).append(where)
    return "".join(
        OUTCOMES[outcome].format(where=listed(where), reference=reference)
        for (outcome, reference), where in places.items()
    )


def _sentence(view: View, lead: Lead | None, evaluation: str) -> str:
    if lead is None:
        rows = [view.standings[evaluation, method] for method in view.methods]
        lacking = [row["method"] for row in rows if row["reason"]]
        if not lacking:
            return "there is nothing to compare."
        return f"nobody is ahead yet, as results lack: {_named(lacking)}."
    if len(lead.first) > 1:
        text = f"{_named(lead.first)} are level with a mean score of {lead.score}"
    else:
        text = f"{lead.first[0]} has the highest mean score, {lead.score}"
    if not lead.is_tested:
        return f"{text}; too few seeds to distinguish it from the others."
    beyond = "".join(
        f"; {_named(found.better)} {'is' if len(found.better) == 1 else 'are'} better than {reference} "
        "beyond chance"
        for reference, found in lead.against.items()
        if found.better
    )
    if not lead.level_with and not lead.behind:
        return f"{text}, and cannot be told apart{beyond}."
    parts = []
    if lead.level_with:
        it = "it" if len(lead.first) == 1 else "them"
        parts.append(f"{_named(lead.level_with)} cannot be distinguished from {it}")
    if lead.behind:
        parts.append(f"{_named(lead.behind)} {'is' if len(lead.behind) == 1 else 'are'} worse beyond chance")
    return f"{text}; {'; '.join(parts)}{beyond}."


def _with_interval(row: Record) -> str:
    score = number(row["mean_score"])
    return score if pd.isna(row["low"]) else f"{score} [{span(row['low'], row['high'])}]"


def _named(methods: list[str]) -> str:
    return listed(methods) if len(methods) <= MOST_NAMED else f"{len(methods)} methods"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
