"""How statistics are put into words and figures: one place for the pages and the terminal."""

from bench.protocol.protocol import ReportSettings
from bench.report.layout import number, percent
from bench.summary.over_seeds import too_few_seeds

# Below the name of a row that others are measured against.
REFERENCE = "reference: not ranked, not tested"
# How the p of a difference is corrected, and its name where there is little room.
CORRECTION, CORRECTED = "corrected for the whole table", "p, whole table"
# What of a table follows from which methods are in the run.
ANOTHER_METHOD = "Another method in the run changes no interval of a mean or a difference"


def p_figure(p: float) -> str:
    """A p-value as a figure; never 0."""
    return "< 0.001" if p < 0.0005 else number(p)


def p_value(p: float) -> str:
    """A p-value with its name."""
    figure = p_figure(p)
    return f"p {figure}" if figure.startswith("<") else f"p = {figure}"


def covered_by(seeds: int) -> str:
    """What an interval is about, by the number of seeds."""
    if seeds > 1:
        return f"over test patients and {seeds} seeds"
    return "over test patients only: one seed cannot show how much another would differ"


def difference_note(method: str, baseline: str, seeds: int, settings: ReportSettings) -> str:
    """How differences to a baseline are read.

    Args:
        method: whose differences they are, or a word for several.
        baseline: id.
        seeds: of the run.
        settings: level and least number of seeds.
    """
    read = (
        f"{method} minus {baseline}, on the same test patients and seeds; {percent(settings.level)} "
        f"intervals {covered_by(seeds)}."
    )
    if seeds < settings.least_seeds:
        return f"{read} No p and no mark: {few_seeds_words(seeds, settings)}"
    return f"{read} Neither intervals nor two-sided p are corrected for how many differences there are."


def score_note(seeds: int, resampled: list[str], settings: ReportSettings) -> str:
    """How the leaderboard's cells are read.

    Args:
        seeds: of the run.
        resampled: how many patients of each data set were resampled, in words.
        settings: of the report.
    """
    mean = f"Mean over {seeds} seeds" if seeds > 1 else "One seed"
    patients = f" ({'; '.join(resampled)}; {settings.resamples:,} resamples)" if resampled else ""
    read = f"{mean}; below it the {percent(settings.level)} interval {covered_by(seeds)}{patients}."
    details = "Choose a number for the runs behind it."
    if seeds < settings.least_seeds:
        few = few_seeds_words(seeds, settings)
        return f"{read} No mark and no interval of the rank: {few} {details}"
    return (
        f"{read} The rank's interval is over patients and seeds. “worse” is distinguishable from the best of "
        "its column, with all pairs compared (in at most "
        f"{percent(round(1 - settings.level, 6))} of columns is a method among the best marked so); what is "
        f"not marked cannot. {ANOTHER_METHOD}; ranks, their intervals and marks are among the methods of the "
        f"run. {details}"
    )


def few_seeds_words(seeds: int, settings: ReportSettings) -> str:
    """Why so few seeds show no mark, to go on after a colon."""
    return _continued(too_few_seeds(seeds, settings.least_seeds))


def _continued(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]
