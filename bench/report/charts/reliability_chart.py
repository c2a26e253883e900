"""The chart of reliability diagrams: predicted probability against what came true."""

from collections.abc import Mapping, Sequence

import altair as alt

from bench.report.charts.encodings import (
    Record,
    drawn_of,
    drawn_styles,
    figure,
    method_encoding,
    written_at_usual_size,
)
from bench.report.charts.vega import FAINT
from bench.report.layout import EVALUATIONS, Figure, listed, number
from bench.report.material.reliability_diagrams import PREDICTED
from bench.summary.summary import Summary
from imssl.calibration import Reliability

CONFIDENCE, FREQUENCY = "mean predicted probability", "share that came true"
SAYS = (
    "datum.method + ': predicted ' + format(datum.predicted, '.3f') + ', came true ' "
    "+ format(datum.came_true, '.3f') + ' (' + format(datum.samples, ',') + ' predictions)'"
)


def reliability_chart(
    summary: Summary,
    dataset: str,
    evaluation: str,
    diagrams: Mapping[str, Reliability],
    methods: Sequence[str],
) -> Figure | None:
    """A line for each method; on the diagonal, probabilities are what they say."""
    drawn = {method: diagram for method, diagram in diagrams.items() if method in methods}
    if not drawn:
        return None
    records: list[Record] = [
        {
            "method": method,
            "predicted": diagram.confidence.round(4).tolist(),
            "came_true": diagram.frequency.round(4).tolist(),
            "samples": diagram.samples.tolist(),
        }
        for method, diagram in diagrams.items()
    ]
    scale = alt.Scale(domain=[0, 1])
    x = alt.X("predicted:Q", title=CONFIDENCE, scale=scale)
    y = alt.Y("came_true:Q", title=FREQUENCY, scale=scale)
    encoding = method_encoding(drawn_styles(summary, drawn_of(records, methods)))
    base = alt.Chart()
    diagonal = base.transform_aggregate(lines="count()").mark_rule(
        color=FAINT, strokeWidth=1.5, strokeDash=[4, 3]
    )
    chart = alt.layer(
        diagonal.encode(
            x=alt.XDatum(0, title=CONFIDENCE),
            y=alt.YDatum(0, title=FREQUENCY),
            x2=alt.X2Datum(1),
            y2=alt.Y2Datum(1),
        ),
        base.mark_line(strokeWidth=1.5, opacity=0.7).encode(x=x, y=y, color=encoding["color"]),
        base.mark_point(filled=True, size=45, opacity=1).encode(x=x, y=y, **encoding, tooltip="says:N"),
    )
    chart = chart.transform_flatten(["predicted", "came_true", "samples"]).transform_calculate(says=SAYS)
    predicted = PREDICTED[summary.results.cards[dataset].task]
    title = f"{dataset}: probability of {predicted}{EVALUATIONS[evaluation].remark}"
    gaps = listed([f"{method} {number(diagram.calibration_error)}" for method, diagram in drawn.items()])
    words = (
        f"Reliability diagram of {dataset}, {EVALUATIONS[evaluation].title}, all labels, predictions of all "
        f"seeds pooled: the predicted probability of {predicted} against the share that came true. "
        f"Mean gap: {gaps}. "
        "All numbers are in the tables."
    )
    return figure(
        summary,
        f"reliability-{evaluation}-{dataset}",
        title,
        words,
        methods,
        records,
        written_at_usual_size(chart),
        dataset,
    )
