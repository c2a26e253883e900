"""Print the tables of docs/statistics.md; a few minutes on one core."""

from collections.abc import Iterable, Sequence

from tests.simulations import differences, interquartile_mean, labels_saved, verdicts
from tests.simulations.best_of_many import false_marks

SEEDS = (2, 3, 5)
ERROR_TRIALS, POWER_TRIALS = 1500, 300
EFFECT = 0.05


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a Markdown table, row by row."""
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


def best_rows() -> Iterable[Sequence[str]]:
    """Family-wise error of the marks of a column, by number of methods."""
    kinds = {"all .02": (0.02,), "one in four .04, the others .005": (0.04, 0.005, 0.005, 0.005)}
    for methods, trials in ((4, 400), (10, 300), (25, 200), (50, 150)):
        for name, deviations in kinds.items():
            cells = [rate(false_marks(methods, deviations, 0.006, seeds, trials)) for seeds in (3, 5)]
            yield (f"{methods}", name, *cells, f"{trials}")


def interquartile_rows() -> Iterable[Sequence[str]]:
    """Coverage of the interval of the interquartile mean, by number of columns."""
    for datasets, fractions in ((1, 1), (3, 1), (3, 3), (6, 3)):
        cells = [
            rate(interquartile_mean.coverage(datasets, fractions, 0.02, 0.006, seeds, 400)) for seeds in SEEDS
        ]
        yield (f"{datasets}", f"{fractions}", *cells)


def saved_rows() -> Iterable[Sequence[str]]:
    """How often labels are said to be saved, by the true gain."""
    for gain in (0.0, 0.02, 0.05):
        yield (f"{gain:g}", *(rate(labels_saved.says_saved(gain, seeds, 300)) for seeds in (3, 5)))


def verdict_rows() -> Iterable[Sequence[str]]:
    """How often a page of twelve claims without an effect has a verdict in favour of any."""
    for words, corrected in (("each at 95%", False), ("as one family", True)):
        yield (words, *(rate(verdicts.false_verdicts(seeds, 400, corrected)) for seeds in (1, 2, 3, 5)))


def main() -> None:
    """Print every table."""
    heads = [f"{way}, S = {seeds}" for way in ("own variances", "paired differences") for seeds in SEEDS]
    table(
        "One difference: errors when nothing differs / power for .05",
        ("patients' error", "seed SDs", "correlation", *heads),
        difference_rows(),
    )
    table(
        "Marks: tables of equal methods with any of them told apart from the best",
        ("methods", "seed SDs", "S = 3", "S = 5", "tables"),
        best_rows(),
    )
    table(
        "Interquartile mean: coverage of the 95% interval",
        ("data sets", "columns of each", *(f"S = {seeds}" for seeds in SEEDS)),
        interquartile_rows(),
    )
    table("Labels said to be saved", ("true gain", "S = 3", "S = 5"), saved_rows())
    table(
        "Pages with a false verdict in favour of a claim",
        ("judged", "S = 1", "S = 2", "S = 3", "S = 5"),
        verdict_rows(),
    )


if __name__ == "__main__":
    main()
