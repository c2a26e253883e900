"""How often a page of claims without any effect has a verdict in their favour."""

import math

import numpy as np

from bench.analysis.reproduction.claims import read_claims
from bench.analysis.reproduction.evidence import Effect
from bench.analysis.reproduction.verdicts import SMALLER, Claim, judge
from bench.summary.estimated_mean import difference_of_rows

LEVEL, LEAST_SEEDS, METHODS, DATASETS = 0.95, 3, 2, 3
DEVIATION, PATIENT_ERROR = 0.02, 0.006


def effects_of(claim: Claim, seeds: int, generator: np.random.Generator, across: float) -> list[Effect]:
    """What a claim without an effect measures: on each data set, for the rule `each` with three label sets.

    The true effect is 0 for the rule `mean`. For the rule `each` it is a loss of the margin, the smallest at
    which `reproduced` is wrong, in one cell, and 0 elsewhere.
    """
    cells = DATASETS * (3 if claim.rule == "each" else 1)
    draws = np.array([-1.0, 1.0]) * PATIENT_ERROR / math.sqrt(2)
    shared, effects = generator.normal(size=(2, seeds)), []
    for cell in range(cells):
        truth = -claim.margin if claim.rule == "each" and cell == 0 else 0.0
        own = generator.normal(size=(2, seeds))
        values, reference = DEVIATION * (math.sqrt(across) * shared + math.sqrt(1 - across) * own)
        values = values + truth + PATIENT_ERROR * generator.normal()
        estimate = difference_of_rows(values, reference, draws, units=1000)
        effects.append(Effect(f"d{cell}", "", estimate, rows=(tuple(values), tuple(-reference))))
    return effects


def false_verdicts(seeds: int, trials: int, corrected: bool = True, across: float = 0.0) -> float:
    """Share of pages with any claim that is said to hold, though none does.

    Args:
        seeds: S.
        trials: pages that are simulated.
        corrected: judge at the level of the family, as the page does, or every claim by itself.
        across: correlation of runs of one seed on different data sets.
    """
    generator, wrong = np.random.default_rng(5), 0
    claims = [claim for claim in read_claims() for _ in range(METHODS)]
    level = 1 - (1 - LEVEL) / len(claims) if corrected else LEVEL
    for _ in range(trials):
        verdicts = [
            judge(claim, effects_of(claim, seeds, generator, across), level, LEAST_SEEDS) for claim in claims
        ]
        wrong += any(judged.verdict in ("reproduced", SMALLER) for judged in verdicts)
    return wrong / trials
