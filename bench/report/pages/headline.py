"""The first lines of the page: who wins, and is it real."""

import pandas as pd

from bench.report.layout import listed, number, percent, span
from bench.report.view import Record, View
from bench.summary.over_seeds import too_few_seeds


def headline(view: View) -> list[str]:
    """A sentence for the smallest share of labels, and one for all; what cannot be said is said to be so."""
    fractions = view.summary.protocol.label_fractions
    ends = fractions[:1] + fractions[-1:] if len(fractions) > 1 else fractions
    return [sentence for fraction in ends for sentence in _sentences(view, fraction)]


def _sentences(view: View, fraction: float) -> list[str]:
    ranks: dict[str, Record] = {}
    for method in view.methods:
        aggregate = view.aggregates.get(("finetune", fraction, None, method))
        if aggregate is not None and not pd.isna(aggregate["mean_rank"]):
            ranks[method] = aggregate
    where = f"{percent(fraction)} of the labels"
    if not view.several:
        return []
    if len(ranks) < 2:
        return [f"{where}: fewer than two methods have results on every data set, so nobody wins yet."]
    first = min(ranks, key=lambda method: ranks[method]["mean_rank"])
    best = ranks[first]
    text = f"{where}: {first} has the best mean rank, {number(best['mean_rank'], 2)}"
    if not pd.isna(best["mean_rank_low"]):
        text += f" [{span(best['mean_rank_low'], best['mean_rank_high'], 2)}]"
    text += f" of {len(ranks)}"
    seeds, least_seeds = len(view.summary.protocol.seeds), view.summary.protocol.report.least_seeds
    if seeds < least_seeds:
        return [f"{text}. {too_few_seeds(seeds, least_seeds)}"]
    return [f"{text}; {_tied(view, fraction, first)}."]


def _tied(view: View, fraction: float, first: str) -> str:
    """Which methods cannot be told from the best on any data set."""
    datasets = list(view.summary.protocol.datasets)
    tied: list[str] = []
    apart: list[str] = []
    for method in view.methods:
        if method == first or method in view.references:
            continue
        places = [(dataset, "finetune", fraction, None, method) for dataset in datasets]
        standings = [view.ranks[place] for place in places if place in view.ranks]
        if len(standings) < len(datasets) or any(pd.isna(standing["mean"]) for standing in standings):
            continue
        (tied if all(standing["tied"] for standing in standings) else apart).append(method)
    if not tied and not apart:
        return "no other method has results on every data set"
    if not tied:
        return "each other method is distinguishably below the best of a data set"
    verb = "is" if len(tied) == 1 else "are"
    names = listed(tied) if len(tied) <= 4 else f"{len(tied)} others"
    return f"{names} {verb} tied with the best on every data set"
