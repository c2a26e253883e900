"""Review a submission and run nothing of it: schema, checksums, samples, and the scores computed again."""

import shutil
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from bench.cells.files import METRICS_FILE, cell_path, data_folder, is_prepared, read_json
from bench.cells.records import CellRecord, cell_of, read_record
from bench.cells.store import file_checksums
from bench.protocol.cell import Cell, all_cells
from bench.protocol.label_columns import labels_in
from bench.protocol.protocol import Protocol
from bench.sharing.archive import unpack
from bench.sharing.differences import different_values
from bench.sharing.submission import ENCODER_FILES, SUBMISSION_FILE, Submission, shared_protocol
from bench.summary.tidy import checked_rows
from bench.trust.scratch import scratch_project
from bench.trust.verify.check import Check, by_name
from bench.trust.verify.numbers import compare_values, place_of, recompute
from bench.trust.verify.samples import check_predictions, check_subsets
from imssl.datasets.prepared import CARD_FILE, Card, read_card
from imssl.errors import UserError, printable
from imssl.regular_file import checksum

LONGEST_FINDING = 300


@dataclass(frozen=True)
class Unpacked:
    """A submission whose files are what submission.json says, unpacked below a scratch project.

    Attributes:
        folder: with its files.
        project: of the scratch project: params.yaml, and links to this checkout's data.
        submission: what it says of itself.
        protocol: this checkout's, with the submitted row added; nothing of its code is read for that.
        cells: that the submission should hold.
    """

    folder: Path
    project: Path
    submission: Submission
    protocol: Protocol
    cells: list[Cell]

    def record(self, cell: Cell) -> CellRecord | None:
        """The record of one of its cells, None where it has none; read with the folder as the current one."""
        return read_record(cell_path(cell))


@contextmanager
def unpacked(archive: Path, protocol: Protocol) -> Iterator[Unpacked]:
    """Unpack a submission into a scratch folder for the block.

    Raises:
        UserError: it is none: see :func:`bench.sharing.archive.unpack`; or a file is not what it says.
    """
    archive = archive.absolute()
    with scratch_project() as project:
        folder = project / "submission"
        folder.mkdir()
        names = set(unpack(archive, folder))
        submission = _read(folder, archive)
        wrong = sorted(names - {SUBMISSION_FILE} ^ submission.files.keys())
        wrong += [
            name for name, sha in submission.files.items() if name in names and checksum(folder / name) != sha
        ]
        if wrong:
            raise UserError(
                f"{archive}: {printable(wrong[0])} is not as {SUBMISSION_FILE} says; was it changed?"
            )
        with_row = protocol.model_copy(
            update={"methods": {**protocol.methods, submission.method: submission.row}}
        )
        cells = [cell for cell in all_cells(with_row) if cell.method == submission.method]
        _lay_data(folder, protocol)
        yield Unpacked(folder, project, submission, with_row, cells)


def review(unpacked: Unpacked) -> list[Check]:
    """All checks that need no code of the submission; what cannot be compared is a note."""
    with chdir(unpacked.folder):
        records, cells = _check_records(unpacked)
        checks = [_check_protocol(unpacked), _check_data(unpacked), cells]
        whole = [cell for cell, record in records.items() if record.status == "done"]
        for dataset in unpacked.protocol.datasets:
            of_dataset = [cell for cell in whole if cell.dataset == dataset]
            if of_dataset and is_prepared(dataset):
                checks += _checks_of(unpacked, dataset, of_dataset)
    return list(by_name(checks).values())


def _checks_of(unpacked: Unpacked, dataset: str, cells: list[Cell]) -> list[Check]:
    """The checks of one data set's cells; whatever a stranger's file does to a reader is a finding."""
    checks = [Check("scores against the predictions")]
    try:
        if (data_folder(dataset) / "samples.csv").is_file():
            has_features = unpacked.submission.has_encoders
            checks.append(check_predictions(unpacked.protocol, cells, has_features))
            checks.append(check_subsets(unpacked.protocol, cells))
        checks.append(_check_scores(unpacked, cells))
    except Exception as error:
        said = printable(f"{type(error).__name__}: {error}")[:LONGEST_FINDING]
        checks[0].compare(f"files of {dataset}", "tables as bench writes them", said)
    return checks


def _read(folder: Path, archive: Path) -> Submission:
    try:
        return Submission.model_validate_json((folder / SUBMISSION_FILE).read_bytes())
    except FileNotFoundError:
        raise UserError(f"{archive} is no submission: it holds no {SUBMISSION_FILE}") from None
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise UserError(
            f"{archive}: {SUBMISSION_FILE} is not what this version reads: {printable(where)}: {fault['msg']}"
        ) from None


def _lay_data(folder: Path, protocol: Protocol) -> None:
    """Data sets as they are prepared here, or else the submission's cards alone."""
    for dataset in protocol.datasets:
        here, there = data_folder(dataset), folder / data_folder(dataset)
        card = folder / "cards" / f"{dataset}.json"
        there.parent.mkdir(exist_ok=True)
        if (here / CARD_FILE).is_file():
            there.symlink_to(here.resolve())
        elif card.is_file():
            there.mkdir()
            shutil.copy(card, there / CARD_FILE)


def _check_protocol(unpacked: Unpacked) -> Check:
    check = Check("settings against params.yaml")
    ours, theirs = shared_protocol(unpacked.protocol), unpacked.submission.protocol
    for name in sorted(ours.keys() | theirs.keys()):
        differing = list(different_values(ours.get(name), theirs.get(name), name))
        if not differing:
            check.compare(name, True, True)
        for path, here, there in differing:
            check.compare(printable(path), here, printable(str(there))[:LONGEST_FINDING])
    return check


def _check_data(unpacked: Unpacked) -> Check:
    check = Check("data cards")
    for dataset in unpacked.protocol.datasets:
        file = Path("cards") / f"{dataset}.json"
        try:
            theirs = Card.model_validate_json(file.read_bytes()).checksums
        except (OSError, ValidationError):
            check.compare(file, "the card of a data set", "none, or not as this version writes it")
            continue
        if not data_folder(dataset).is_symlink():
            check.notes.append(f"{dataset} is not prepared here, so that its samples were not compared")
            continue
        for name, sha in read_card(data_folder(dataset)).checksums.items():
            check.compare(f"{dataset}/{name}", sha, theirs.get(name))
    return check


def _check_records(unpacked: Unpacked) -> tuple[dict[Cell, CellRecord], Check]:
    """The cells whose files are as their record says, and a check that names the others."""
    check, records = Check("files of the cells against cell.json"), {}
    may_lack = set() if unpacked.submission.has_encoders else set(ENCODER_FILES)
    for cell in unpacked.cells:
        folder = cell_path(cell)
        try:
            record = unpacked.record(cell)
        except UserError as error:
            check.compare(folder, "a finished cell", printable(str(error).splitlines()[0]))
            continue
        if record is None:
            check.compare(folder, "a finished cell", "none")
            continue
        written = cell_of(record)
        present = file_checksums(folder)
        lacking = {name for name in record.files.keys() - present.keys() if name in may_lack}
        expected = {name: sha for name, sha in record.files.items() if name not in lacking}
        check.compare(folder, cell.title, written.title)
        for name in sorted(expected.keys() | present.keys()):
            check.compare(folder / name, expected.get(name, "no such file"), present.get(name, "missing"))
        if written == cell and expected == present:
            records[cell] = record
    return records, check


def _check_scores(unpacked: Unpacked, cells: list[Cell]) -> Check:
    """metrics.json of every cell against formulas of our own on its predictions."""
    # CKA needs the features, which most submissions lack, and asks the method's code whether it has any.
    scored = [cell for cell in cells if cell.stage not in ("pretrain", "reuse")]
    recomputed, (unreadable, _) = recompute(unpacked.protocol, scored)
    check = Check("scores against the predictions")
    check.disagreements += unreadable.disagreements
    written = {}
    for cell in scored:
        for row in checked_rows(read_json(cell_path(cell) / METRICS_FILE)):
            labels = labels_in(row) or cell.labels
            place = place_of(cell, labels, row.get("block"), row.get("class", ""), row["metric"])
            written[place] = row["value"]
    compare_values(check, recomputed, written)
    return check
