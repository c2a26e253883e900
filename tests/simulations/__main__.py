"""Print the tables of docs/statistics.md; some ten minutes on one core.

With words on the command line, only the tables whose titles begin with one of them. Every table draws by its
own seeds, so it is the same alone.
"""

import itertools
import sys
from collections.abc import Iterable, Sequence

from tests.simulations import (
    differences,
    feature_reuse,
    interquartile_mean,
    intervals,
    labels_saved,
    verdicts,
)
from tests.simulations.best_of_many import false_marks
from tests.simulations.power import power_of_marks, power_of_one
from tests.simulations.table_of_differences import told_apart

SEEDS = (2, 3, 5)
ERROR_TRIALS, POWER_TRIALS = 1500, 300
EFFECT = 0.05
FEW = (3, 5)
PLAIN = "all .02"
NOISY = "one in four .04, the others .005"
KINDS = {PLAIN: (0.02,), NOISY: (0.04, 0.005, 0.005, 0.005)}


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a Markdown table, row by row, if it is wanted."""
    if not title.startswith(tuple(sys.argv[1:]) or ""):
        return
    print(f"\n### {title}\n\n| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def rate(value: float) -> str:
    """A share without its leading zero."""
    return f"{value:.3f}".removeprefix("0")


def difference_rows() -> Iterable[Sequence[str]]:
    """Errors and power of one difference, by setting."""
    for setting in [*differences.SETTINGS, *differences.OPPOSED]:
        cells = []
        for paired in (False, True):
            for seeds in SEEDS:
                error = differences.error_rate(setting, seeds, ERROR_TRIALS, paired=paired)
                power = differences.error_rate(setting, seeds, POWER_TRIALS, EFFECT, paired)
                cells.append(f"{rate(error)} / {power:.2f}")
        deviations = ", ".join(f"{deviation:g}" for deviation in setting.deviations)
        yield (f"{setting.patient_error:g}", deviations, f"{setting.correlation:g}", *cells)


def over_datasets_rows() -> Iterable[Sequence[str]]:
    """Errors of a mean difference over three data sets, by how alike the seeds' effects on them are."""
    for across in (0.0, 0.3, 0.5, 0.9):
        errors = [
            differences.error_over_datasets(across, seeds, 4000, independent=independent)
            for independent in (True, False)
            for seeds in FEW
        ]
        yield (f"{across:g}", *map(rate, errors))


def cell_rows() -> Iterable[Sequence[str]]:
    """Coverage of a leaderboard's cell."""
    for deviation, patient_error in itertools.product((0.02, 0.04), (0.006, 0.02)):
        cells = [rate(intervals.covered_by_cell(deviation, patient_error, seeds, 2000)) for seeds in SEEDS]
        yield (f"{deviation:g}", f"{patient_error:g}", *cells)


def score_rows() -> Iterable[Sequence[str]]:
    """Coverage of a mean score."""
    for across, patient_error in itertools.product((0.0, 0.9), (0.006, 0.02)):
        cells = [
            rate(intervals.covered_by_score(0.02, patient_error, seeds, 1000, across)) for seeds in SEEDS
        ]
        yield (f"{across:g}", f"{patient_error:g}", *cells)


def best_rows() -> Iterable[Sequence[str]]:
    """Family-wise error of the marks of a column, by number of methods."""
    for methods, counts in ((4, (400, 400)), (10, (400, 400)), (25, (400, 400)), (50, (150, 400))):
        for (name, deviations), trials in zip(KINDS.items(), counts, strict=True):
            cells = [rate(false_marks(methods, deviations, 0.006, seeds, trials)) for seeds in FEW]
            yield (f"{methods}", name, *cells, f"{trials}")


def best_power_rows() -> Iterable[Sequence[str]]:
    """How many of nine methods are told from the best, which leads by so much."""
    for lead in (0.03, 0.05, 0.1, 0.2):
        yield (f"{lead:g}", *(rate(false_marks(10, (0.02,), 0.006, seeds, 200, lead)) for seeds in FEW))


def table_rows() -> Iterable[Sequence[str]]:
    """Family-wise error and power of a table of 27 differences to the baseline, before and now."""
    kinds = {
        PLAIN: (0.02,) * 4,
        "all .04": (0.04,) * 4,
        "one method .08, the others .02": (0.02, 0.08, 0.02, 0.02),
        "baseline .08, the others .02": (0.08, 0.02, 0.02, 0.02),
    }
    for name, deviations in kinds.items():
        for patient_error in (0.006, 0.02):
            cells = []
            for seeds in FEW:
                errors = told_apart(deviations, patient_error, seeds, 300)
                powers = told_apart(deviations, patient_error, seeds, 40, EFFECT)
                cells += [
                    f"{rate(error)} / {rate(power)}" for error, power in zip(errors, powers, strict=True)
                ]
            yield (name, f"{patient_error:g}", *cells)


SCATTER = ((0.02, 0.006), (0.02, 0.02), (0.04, 0.006))


def power_rows() -> Iterable[Sequence[str]]:
    """The difference that is said to be found with 80% probability, and how often it is."""
    for deviation, patient_error in SCATTER:
        for name, level in ((".05", 0.95), (".05 / 12", 1 - 0.05 / 12)):
            cells = [power_of_one(deviation, patient_error, seeds, level, 40_000) for seeds in FEW]
            yield (f"{deviation:g}", f"{patient_error:g}", name, *(f"{e:.3f}: {rate(p)}" for e, p in cells))
    for deviation, patient_error in SCATTER:
        cells = [power_of_marks(deviation, patient_error, seeds, 4, 150) for seeds in FEW]
        yield (f"{deviation:g}", f"{patient_error:g}", "of 27", *(f"{e:.3f}: {rate(p)}" for e, p in cells))


def interquartile_rows() -> Iterable[Sequence[str]]:
    """Coverage of the interval of the interquartile mean, by number of columns."""
    for datasets, fractions in ((1, 1), (1, 3), (3, 1), (2, 2), (4, 1), (3, 3), (6, 3)):
        cells = [
            rate(interquartile_mean.coverage(datasets, fractions, deviation, 0.006, seeds, 400, across))
            for deviation, across in itertools.product((0.02, 0.06), (0.0, 0.9))
            for seeds in FEW
        ]
        yield (f"{datasets} x {fractions}", *cells)


def saved_rows() -> Iterable[Sequence[str]]:
    """How often labels are said to be saved, by the true gain."""
    for gain in (0.0, 0.02, 0.05):
        yield (f"{gain:g}", *(rate(labels_saved.says_saved(gain, seeds, 300)) for seeds in FEW))


def verdict_rows() -> Iterable[Sequence[str]]:
    """How often a page of twelve claims without an effect has a verdict in favour of any."""
    for words, corrected in (("each at 95%", False), ("as one family", True)):
        for across in (0.0, 0.9):
            cells = [rate(verdicts.false_verdicts(seeds, 400, corrected, across)) for seeds in FEW]
            yield (words, f"{across:g}", *cells)


def reuse_rows() -> Iterable[Sequence[str]]:
    """Coverage of the interval of a difference in CKA, by setting."""
    for patients in (20, 60):
        for alike in (0.3, 0.7):
            for seeds, deviation in ((3, 0.01), (3, 0.05), (5, 0.05)):
                rates = feature_reuse.coverage(patients, 3, alike, seeds, deviation, 300)
                yield (f"{patients}", f"{alike:g}", f"{deviation:g}", f"{seeds}", *map(rate, rates))


def main() -> None:
    """Print every table."""
    ways = ("own variances", "paired differences")
    of_few, of_all = ([f"S = {seeds}" for seeds in some] for some in (FEW, SEEDS))
    table(
        "One difference: errors when nothing differs / power for .05",
        ("patients' error", "seed SDs", "correlation", *(f"{way}, {s}" for way in ways for s in of_all)),
        difference_rows(),
    )
    table(
        "A mean difference over three data sets: errors when nothing differs",
        ("correlation over data sets", *(f"{way}, {s}" for way in ("before", "now") for s in of_few)),
        over_datasets_rows(),
    )
    table("A leaderboard's cell: coverage", ("seed SD", "patients' error", *of_all), cell_rows())
    table("Mean score: coverage", ("correlation over data sets", "patients' error", *of_all), score_rows())
    table(
        "Marks: tables of equal methods with any of them told apart from the best",
        ("methods", "seed SDs", *of_few, "tables"),
        best_rows(),
    )
    table("Marks: share of nine methods told from the best", ("lead of the best", *of_few), best_power_rows())
    table(
        "Tables of 27 differences: with any marked when nothing differs / share marked for .05",
        ("seed SDs", "patients' error", *(f"{s}, {way}" for s in of_few for way in ("before", "now"))),
        table_rows(),
    )
    table(
        "What is said to be found with 80% probability: how often it is",
        ("seed SD", "patients' error", "test", *of_few),
        power_rows(),
    )
    kinds = [f"SD {d}, correlation {c}" for d in (".02", ".06") for c in ("0", ".9")]
    table(
        "Interquartile mean: coverage of the 95% interval",
        ("data sets x columns of each", *(f"{kind}, {s}" for kind in kinds for s in of_few)),
        interquartile_rows(),
    )
    table("Labels said to be saved", ("true gain", *of_few), saved_rows())
    table(
        "Pages with a false verdict in favour of a claim",
        ("judged", "correlation over data sets", *of_few),
        verdict_rows(),
    )
    table(
        "Difference in CKA: coverage of the 95% interval",
        ("patients", "images alike", "SD of what is kept", "seeds", "patients and seeds", "seeds only"),
        reuse_rows(),
    )


if __name__ == "__main__":
    main()
