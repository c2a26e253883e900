"""The figures and tables of docs/study.md, made from a study and put between the marks that name them.

<!-- study: verdicts -->
...
<!-- end -->
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import vl_convert

from bench.analysis.ranking.against_untrained import STRONGER
from bench.cells.method_facts import facts_of
from bench.methods.tuned import SCORE, UNTRAINED, read_trials, searched_in, with_values_of
from bench.protocol.label_columns import label_columns
from bench.report.layout import EVALUATION_NAMES, METRIC_NAMES, number, signed, span
from bench.report.material.label_counts import labels_drawn
from bench.report.view import Record, View
from bench.studies.reports import study_view
from bench.studies.stored.files import chains_of, read_chain, study_folder, study_trials
from bench.summary.draws import Comparison, ComparisonDraws
from imssl.durable import write_text
from imssl.errors import UserError
from imssl.settings.labels import LabelSet

DOCS = Path("docs")
BLOCK = re.compile(r"(<!-- study: (?P<name>[a-z]+) -->\n).*?(<!-- end -->)", re.DOTALL)
NOT_RUN = "*Not run yet.*"


def paper_of(name: str | None) -> Path:
    """The page that tells of a study: docs/study-<name>.md where there is one, docs/study.md otherwise."""
    own = DOCS / f"study-{name}.md"
    return own if name and own.is_file() else DOCS / "study.md"


def write_paper(name: str | None) -> Path:
    """Write every block of a study's page; the words between them stay as they are.

    Args:
        name: of the study; None before there is one, when only what was planned can be written.

    Returns:
        The page.

    Raises:
        UserError: there is no such study, no page, or it names a block that nothing makes.
    """
    paper = paper_of(name)
    if not paper.is_file():
        raise UserError(f"{paper} does not exist. Run this in a checkout of the project.")
    blocks: dict[str, Callable[[], str]] = {"planned": lambda: planned(paper)}
    if name is None:
        blocks |= dict.fromkeys(BLOCKS, lambda: NOT_RUN)
    else:
        study = study_folder(name)
        view = study_view(study)
        blocks |= {
            block: lambda make=make: make(view, study)  # type: ignore[misc]
            for block, make in BLOCKS.items()
        }
    written = {block: make() for block, make in blocks.items()}

    def filled(match: re.Match[str]) -> str:
        if match["name"] not in written:
            raise UserError(f"{paper} has a block {match['name']}; there are: {', '.join(written)}")
        return f"{match[1]}\n{written[match['name']]}\n\n{match[3]}"

    write_text(paper, BLOCK.sub(filled, paper.read_text(encoding="utf-8")))
    return paper


def planned(paper: Path) -> str:
    """Cells, hours and the smallest differences that could be found, as they were planned before the run.

    They are what `bench plan --json` and `bench plan --power --json` said, kept beside the page.
    """
    file = paper.with_name(f"{paper.stem}-planned.json")
    if not file.is_file():
        return NOT_RUN
    plan = json.loads(file.read_text(encoding="utf-8"))
    stages = [
        [row["stage"], str(row["cells"]), f"{row['seconds'] / 3600:.1f}"] for row in plan["plan"]["stages"]
    ]
    power = [
        [
            row["dataset"],
            EVALUATION_NAMES[row["evaluation"]],
            f"block {row['block']}" if row["block"] else f"{100 * row['fraction']:g}%",
            str(row["patients"]),
            number(row["seed_deviation"]),
            number(row["patient_error"]),
            number(row["detectable"]),
        ]
        for row in plan["power"]["columns"]
        if row["evaluation"] != "probe" or row["block"] == 4
    ]
    return "\n\n".join(
        [
            table(["stage", "cells", "hours of one core"], stages),
            table(
                [
                    "data set",
                    "evaluation",
                    "labels",
                    "patients",
                    "SD of seeds",
                    "error, patients",
                    "could find",
                ],
                power,
            ),
        ]
    )


def _tuning(view: View, study: Path) -> str:
    """What the search found on validation images, beside the values that the run has."""
    protocol, rows = view.summary.protocol, []
    for method, file in study_trials(study, protocol).items():
        trials = read_trials(file)
        if trials is None:
            continue
        trials = trials.drop_duplicates(searched_in(trials))
        of_run = trials[with_values_of(facts_of(method, protocol), trials)]
        scores = (trials[UNTRAINED].iloc[0], *of_run[SCORE], trials[SCORE].max())
        rows.append([method, str(len(trials)), *map(number, scores)])
    header = ["method", "trials", "an untrained encoder", "the values of the run", "the best trial"]
    return table(header, rows)


def _facts(view: View, study: Path) -> str:
    protocol = view.summary.protocol
    chains = {chain: read_chain(study, chain) for chain in chains_of(protocol)}
    stored = [chain for chain in chains.values() if chain is not None]
    cells = [cell for chain in stored for cell in chain.cells]
    hours = sum(cell.provenance.seconds for cell in cells) / 3600
    devices = Counter(cell.provenance.device for cell in cells if cell.record["stage"] == "pretrain")
    commits = Counter((cell.provenance.commit or "none")[:12] for cell in cells)
    effect = max((kept.effect for chain in stored for kept in chain.predictions.values()), default=0.0)
    rows = [
        ["data sets", ", ".join(_dataset(view, dataset) for dataset in protocol.datasets)],
        ["methods", ", ".join(protocol.methods)],
        ["seeds", ", ".join(map(str, protocol.seeds))],
        ["chains finished", f"{len(stored)} of {len(chains)}"],
        ["cells; of these failed", f"{len(cells)}; {sum(c.record['status'] == 'failed' for c in cells)}"],
        ["hours of computing, all cores together", f"{hours:.1f}"],
        ["processors", ", ".join(f"{device} ({count})" for device, count in devices.most_common())],
        ["commits", ", ".join(f"{commit} ({count} cells)" for commit, count in commits.most_common())],
        ["largest change of a metric by rounding", f"{effect:.3e}"],
    ]
    return table(["", ""], rows)


def _dataset(view: View, dataset: str) -> str:
    counts = view.summary.results.cards[dataset].counts
    return (
        f"{dataset} ({' / '.join(f'{counts[split].samples:,}' for split in ('train', 'val', 'test'))} images)"
    )


def _leaderboard(view: View, study: Path) -> str:
    """Primary metric with its interval: fine-tuned and frozen, with the fewest labels and with all."""
    protocol = view.summary.protocol
    fewest, everything = protocol.label_shares[0], protocol.label_shares[-1]
    shown = [(e, labels) for e in ("finetune", "frozen") for labels in (fewest, everything)]
    parts = []
    for dataset in protocol.datasets:
        columns = [view.summary.columns[Comparison(dataset, e, labels, None)] for e, labels in shown]
        metric = METRIC_NAMES[view.summary.primary(dataset)]
        header = [
            "method",
            *(f"{EVALUATION_NAMES[e]}, {_with_drawn(view, dataset, e, labels)}" for e, labels in shown),
        ]
        rows = [[method, *(_with_interval(view, c, method) for c in columns)] for method in view.methods]
        parts.append(f"**{dataset}**, {metric}:\n\n{table(header, rows)}")
    return "\n\n".join(parts)


def _with_drawn(view: View, dataset: str, evaluation: str, labels: LabelSet) -> str:
    """A label set and what was drawn for it."""
    drawn = labels_drawn(view.summary, dataset, evaluation, labels)
    return f"{labels.name} ({drawn})" if drawn else labels.name


def _with_interval(view: View, column: ComparisonDraws, method: str) -> str:
    if column.row(method) is None:
        return f"– ({column.excluded.get(method, 'no result')})"
    interval = column.interval(method, view.summary.protocol.report.level)
    return f"{number(interval.value)} [{span(interval.low, interval.high)}]"


def _references(view: View, study: Path) -> str:
    """MoCo, frozen, minus the stronger untrained reference, which the validation images tell."""
    protocol, evaluation, baseline = view.summary.protocol, "frozen", view.summary.protocol.report.baseline
    rows = []
    for dataset in protocol.datasets:
        for labels in protocol.label_shares:
            row = view.untrained_differences.get((dataset, evaluation, labels, None, baseline))
            reference = (row and row["baseline"]) or "–"
            rows.append([dataset, _with_drawn(view, dataset, evaluation, labels), reference, *_gain(row)])
    overall = view.score_differences.get((evaluation, STRONGER, baseline))
    rows.append(["all together", "mean score", "that of each column", *_gain(overall)])
    header = ["data set", "labels", "stronger untrained reference", f"{baseline} minus it"]
    return table([*header, "corrected for all methods and columns"], rows)


def _gain(row: Record | None) -> list[str]:
    """A difference with its interval, and what it shows."""
    if row is None or pd.isna(row["effect"]):
        return ["–", "no result"]
    return [_effect(row), _told(row)]


def _effect(row: Mapping[Any, Any]) -> str:
    return f"{signed(row['effect'])} [{span(row['low'], row['high'])}]"


def _told(row: Record) -> str:
    """What a difference shows, by the test that the leaderboard marks it by."""
    if pd.isna(row["p"]):
        return "too few seeds to tell"
    if not row["distinguishable"]:
        return "not told apart"
    return "better" if row["effect"] > 0 else "worse"


def _verdicts(view: View, study: Path) -> str:
    rows = [
        [
            row["claim"],
            row["method"] or "–",
            _effect(row),
            row["covers"] or "–",
            number(row["detectable"]),
            row["verdict"],
        ]
        for row in view.analysis.claims.to_dict("records")
    ]
    return table(["claim of the paper", "method", "effect", "interval over", "could find", "verdict"], rows)


def _figure(view: View, study: Path) -> str:
    """Fine-tuned and frozen against the share of the labels, a panel for each data set."""
    protocol = view.summary.protocol
    records = [
        {
            "data set": place.dataset,
            "evaluation": EVALUATION_NAMES[place.evaluation],
            "method": method,
            "share": label_columns(place.labels)["fraction"],
            "metric": float(column.values[row].mean()),
        }
        for place, column in view.summary.columns.items()
        if place.evaluation in ("finetune", "frozen") and place.labels in protocol.label_shares
        for row, method in enumerate(column.methods)
    ]
    chart = (
        alt.Chart(pd.DataFrame(records))
        .mark_line(point=True)
        .encode(
            x=alt.X("share:Q", scale=alt.Scale(type="log"), title="share of the labels, nominal"),
            y=alt.Y("metric:Q", scale=alt.Scale(zero=False), title="primary metric, mean over seeds"),
            color=alt.Color("method:N", sort=list(protocol.methods)),
        )
        .properties(width=200, height=170)
        .facet(row="evaluation:N", column="data set:N")
        .resolve_scale(y="independent")
    )
    paper = paper_of(study.name)
    file = paper.parent / "images" / f"{paper.stem}-labels.svg"
    write_text(file, str(vl_convert.vegalite_to_svg(chart.to_dict())))
    title = "Primary metric against the share of the labels, by data set and evaluation"
    return f"![{title}]({file.relative_to(paper.parent)})"


BLOCKS: dict[str, Callable[[View, Path], str]] = {
    "tuning": _tuning,
    "facts": _facts,
    "leaderboard": _leaderboard,
    "references": _references,
    "verdicts": _verdicts,
    "figure": _figure,
}


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
