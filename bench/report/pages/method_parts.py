"""Tables of a method's page about the method itself: settings, checks, trials, weights and cost."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bench.cells.files import ENCODER_FILE, cell_path
from bench.methods.checked import read_check_record
from bench.methods.tuned import CHOSEN, read_trials
from bench.protocol.protocol import Protocol
from bench.protocol.registry import method_file
from bench.report.layout import Column, Entry, Row, Table, number
from bench.report.material.worked_seconds import worked
from bench.report.pages.settings import Facts, written_facts
from bench.report.view import View
from imssl.errors import UserError

# What a hyper-parameter without a line in the docstring of its settings means.
UNDOCUMENTED = "–"


def settings_table(settings: Mapping[str, Any], meanings: Mapping[str, str]) -> Table:
    """Hyper-parameters with their values, and their meaning where the settings' docstring states it.

    Args:
        settings: from bench.report.pages.settings.
        meanings: by name.
    """
    rows = tuple(
        Row(
            name,
            (
                Entry(value, numeric=False),
                Entry(meanings.get(name.split(".")[-1], UNDOCUMENTED), numeric=False),
            ),
        )
        for name, value in written_facts(dict(settings))
    )
    columns = (Column("value", numeric=False), Column("meaning", numeric=False))
    return Table("settings", "Hyper-parameters, defaults included", "Name", columns, rows)


def check_results(method: str, protocol: Protocol) -> Facts:
    """What each check of a method's file said, where they have run; empty otherwise."""
    try:
        record = read_check_record(method_file(method, protocol).name)
    except UserError:  # the sentence on the checks says what is wrong
        return []
    if record is None:
        return []
    said = {"pass": "passed", "fail": "failed", "skip": "could not be checked", "info": "noted"}
    return [
        (name, ": ".join(filter(None, (said.get(status, status), record.reasons.get(name, "")))))
        for name, status in record.results.items()
    ]


def trials_table(file: Path) -> Table | None:
    """The trials by which a method's values were chosen; None where there were none.

    Args:
        file: that lists them.
    """
    try:
        trials = read_trials(file)
    except UserError:  # the sentence on tuning says what is wrong
        return None
    if trials is None:
        return None
    first, *rest = [str(name) for name in trials.columns]
    rows = []
    for trial in trials.to_dict("records"):
        entries = [_trial_entry(name, trial[name]) for name in rest]
        rows.append(Row(str(trial[first]), tuple(entries)))
    columns = tuple(Column(name, numeric=pd.api.types.is_numeric_dtype(trials[name])) for name in rest)
    note = f"All of {file}; bench tune enters the values of the chosen trial in params.yaml."
    return Table("trials", f"Tuning: {len(rows):,} trials", first, columns, tuple(rows), note)


def _trial_entry(name: str, value: Any) -> Entry:
    if value is None or pd.isna(value):
        return Entry("–", numeric=False)
    if name == CHOSEN:
        return Entry("chosen" if value else "", numeric=False)
    return Entry(f"{value:.6g}") if isinstance(value, float) else Entry(str(value), numeric=False)


def weights_table(view: View, method: str) -> Table:
    """The encoders that pretraining has left, by data set and seed, with their checksums."""
    rows = []
    for dataset in view.summary.protocol.datasets:
        for cell, state in view.summary.results.states_of(dataset, method):
            checksum = state.record.files.get(ENCODER_FILE) if state.record else None
            if cell.stage == "pretrain" and checksum:
                place = (cell_path(cell) / ENCODER_FILE).as_posix()
                entries = (Entry(place, numeric=False), Entry(checksum, numeric=False))
                rows.append(Row(f"{dataset}, seed {cell.seed}", entries, link=f"../../{place}"))
    columns = (Column("file", numeric=False), Column("SHA-256", numeric=False))
    note = f"To use one elsewhere: bench export-encoder {method} --help"
    return Table("weights", "Weights of its encoders", "Encoder", columns, tuple(rows), note)


def costs_table(view: View, method: str) -> Table:
    """What the cells of a method have cost, by data set and stage: the processor's seconds, or the GPU's."""
    rows = []
    for dataset in view.summary.protocol.datasets:
        spent: dict[tuple[str, str], list[float | None]] = {}
        for cell, state in view.summary.results.states_of(dataset, method):
            if state.status == "done" and state.record:
                own = worked(state.record.provenance)
                spent.setdefault((cell.stage, own.by), []).append(own.seconds)
        for (stage, kind), each in spent.items():
            known = [seconds for seconds in each if seconds is not None]
            total = (
                Entry(number(sum(known), 1)) if len(known) == len(each) else Entry("not recorded", hole=True)
            )
            mean = Entry(number(sum(known) / len(known), 2)) if len(known) == len(each) else Entry("–")
            rows.append(
                Row(stage, (Entry(kind, numeric=False), Entry(f"{len(each):,}"), total, mean), group=dataset)
            )
    columns = (
        Column("of the", numeric=False),
        Column("cells"),
        Column("seconds in all"),
        Column("a cell"),
    )
    note = (
        "On the CPU the time that its processors worked for the cell, which what ran beside it does not add "
        "to; on a GPU the time that the cell held it. Cells of earlier versions do not say."
    )
    return Table("costs", "Cost", "Stage", columns, tuple(rows), note)
