"""Pack one method for others: an archive of what its results rest on, and the text of a pull request."""

import hashlib
import io
import zipfile
from collections import Counter
from pathlib import Path

from bench.cells.files import CELL_FILE, METRICS_FILE, cell_path, data_folder, read_json
from bench.cells.keys import Keys
from bench.cells.records import CellRecord, provenance_file
from bench.cells.store import intact
from bench.methods.checked import check_state, record_file
from bench.methods.tuned import trials_file
from bench.protocol.cell import Cell, all_cells
from bench.protocol.protocol import Protocol
from bench.protocol.registry import different_settings, method_file
from bench.protocol.stage_specs import STAGES
from bench.report.answer.run_facts import suite_version
from bench.sharing.submission import (
    CHECKS_FILE,
    ENCODER_FILES,
    METHOD_FILE,
    SUBMISSION_FILE,
    TUNING_FILE,
    Submission,
    shared_protocol,
)
from imssl.datasets.prepared import CARD_FILE, read_card
from imssl.durable import write_bytes, write_text
from imssl.errors import UserError

# A message names at most so many cells.
LISTED = 3
# In the text of the request: those with one score on all labels, which probes of several blocks have not.
EVALUATIONS = tuple(name for name, spec in STAGES.items() if None in (spec.predictions or {}))


def submit(method: str, protocol: Protocol, folder: Path, with_encoders: bool) -> tuple[Path, Path]:
    """Write `<method>-submission.zip` and the text of a pull request, `<method>-submission.md`.

    Args:
        method: its name in params.yaml.
        protocol: of the run.
        folder: that the two files go to.
        with_encoders: whether encoders and features are packed too, some MiB a seed.

    Raises:
        UserError: a cell of the method is missing, out of date or not as it was finished.
    """
    cells = [cell for cell in all_cells(protocol) if cell.method == method]
    records = _finished(cells, Keys(protocol), method)
    files = _files_beside_cells(method, protocol)
    for cell, record in records.items():
        place = cell_path(cell)
        names = [name for name in record.files if with_encoders or name not in ENCODER_FILES]
        for file in [place / CELL_FILE, *(place / name for name in names), provenance_file(place)]:
            files[file.as_posix()] = file.read_bytes()
    submission = Submission(
        suite=suite_version(),
        method=method,
        method_file=method_file(method, protocol).name,
        row=protocol.methods[method],
        row_on_datasets=different_settings(method, protocol),
        protocol=shared_protocol(protocol),
        has_encoders=with_encoders,
        cells=len(cells),
        files={name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())},
    )
    archive, text = folder / f"{method}-submission.zip", folder / f"{method}-submission.md"
    folder.mkdir(parents=True, exist_ok=True)
    files[SUBMISSION_FILE] = (submission.model_dump_json(indent=1) + "\n").encode()
    write_bytes(archive, zipped(files))
    write_text(text, _request(method, protocol, records, archive.name))
    return archive, text


def _finished(cells: list[Cell], keys: Keys, method: str) -> dict[Cell, CellRecord]:
    records = {cell: intact(cell_path(cell), keys.key(cell)) for cell in cells}
    missing = [cell.title for cell, record in records.items() if record is None]
    if missing:
        more = f" and {len(missing) - LISTED} more" if len(missing) > LISTED else ""
        raise UserError(
            f"{method} is not complete: {', '.join(missing[:LISTED])}{more} are missing, out of date or not "
            "as they were finished. Run: bench repro"
        )
    return {cell: record for cell, record in records.items() if record is not None}


def _files_beside_cells(method: str, protocol: Protocol) -> dict[str, bytes]:
    source = method_file(method, protocol)
    files = {METHOD_FILE: source.read_bytes()}
    checks, trials = record_file(source.name), trials_file(method)
    if checks.is_file():
        files[CHECKS_FILE] = checks.read_bytes()
    if trials.is_file():
        files[TUNING_FILE] = trials.read_bytes()
    for dataset in protocol.datasets:
        files[f"cards/{dataset}.json"] = (data_folder(dataset) / CARD_FILE).read_bytes()
    return files


def zipped(files: dict[str, bytes]) -> bytes:
    """The same files are the same bytes, whenever they are packed."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o100600 << 16
            archive.writestr(entry, files[name], zipfile.ZIP_DEFLATED)
    return content.getvalue()


def _request(method: str, protocol: Protocol, records: dict[Cell, CellRecord], archive: str) -> str:
    origins = [record.provenance for record in records.values()]
    commits = Counter(f"{(o.commit or 'no commit')[:12]}{'' if o.clean else ', changed'}" for o in origins)
    torch = Counter(origin.packages.get("torch", "unknown") for origin in origins)
    failed = [cell.title for cell, record in records.items() if record.status == "failed"]
    lines = [
        f"# Submission: {method}",
        "",
        f"`{archive}` holds {len(records)} cells: {len(protocol.datasets)} data sets, seeds "
        f"{', '.join(map(str, protocol.seeds))}. Check it with `bench review {archive}`.",
        "",
        "Primary metric on all labels, mean over the seeds, as stored (not recomputed):",
        "",
        "| data set | metric | " + " | ".join(EVALUATIONS) + " |",
        "| --- | --- |" + " --- |" * len(EVALUATIONS),
        *(_score_line(dataset, records) for dataset in protocol.datasets),
        "",
        f"- checks: {check_state(method, protocol).state}",
        f"- commits: {_counted(commits)}",
        f"- hardware: {_counted(Counter(origin.device for origin in origins))}",
        f"- torch: {_counted(torch)}",
        f"- failed cells: {', '.join(failed) or 'none'}",
        "",
        "What the method does, and its paper: <!-- yours to write -->",
        "",
    ]
    return "\n".join(lines)


def _score_line(dataset: str, records: dict[Cell, CellRecord]) -> str:
    metric = read_card(data_folder(dataset)).primary_metric
    means = []
    for evaluation in EVALUATIONS:
        values = [
            row["value"]
            for cell, record in records.items()
            if (cell.dataset, cell.stage) == (dataset, evaluation)
            and record.status == "done"
            and (cell.labels is None or cell.labels.fraction == 1)
            for row in read_json(cell_path(cell) / METRICS_FILE)
            if row["metric"] == metric and not row.get("class")
        ]
        defined = [value for value in values if value is not None]
        means.append(f"{sum(defined) / len(defined):.4f}" if defined else "–")
    return f"| {dataset} | {metric} | {' | '.join(means)} |"


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{what} ({count} cells)" for what, count in counts.most_common())
