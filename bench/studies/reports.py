"""What is made from the stored chains: tables, document and pages, also with methods of one's own."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from bench.analysis.document import ResultsDocument, results_document
from bench.cells.files import REPORTS, data_folder
from bench.machine.workers import side_by_side
from bench.protocol.protocol import Protocol
from bench.report.leaderboard import pages
from bench.report.material.sample_images import without_images
from bench.report.view import View, view_of_results
from bench.studies.agreement import refuse_disagreement
from bench.studies.stored.files import (
    DOCUMENT,
    PAGE,
    RESULTS_TABLE,
    study_folder,
    study_trials,
    write_packed,
)
from bench.studies.stored.results import read_study_results, study_protocol
from bench.summary.read import Results, laid_out_or_finished, read_results
from imssl.datasets.prepared import Card, read_card
from imssl.errors import UserError
from imssl.spreadsheet import safe_table


@dataclass(frozen=True)
class Beside:
    """A report of published cells and cells of one's own.

    Attributes:
        page: its leaderboard.
        own: methods of this checkout that the study does not have.
        missing: cells of these that have no result.
    """

    page: Path
    own: list[str]
    missing: int


def study_view(study: Path) -> View:
    """Every statistic of a study, computed from its stored predictions."""
    protocol = study_protocol(study)
    results = read_study_results(study, protocol)
    return view_of_results(protocol, results, study_trials(study, protocol))


def write_derived(study: Path) -> None:
    """Write results.csv.xz, results.json.xz and the leaderboard of a study."""
    view = study_view(study)
    write_packed(study / RESULTS_TABLE, table_bytes(view))
    write_packed(study / DOCUMENT, (document_of(view).model_dump_json(by_alias=True) + "\n").encode())
    side_by_side(_pages(view, study, study.name)[:1])


def write_all_pages(view: View, folder: Path, study: str, own: Collection[str] = ()) -> Path:
    """Write the leaderboard and the pages of all methods and data sets.

    Args:
        view: what they show.
        folder: that they go to.
        study: name of the study that the methods are of.
        own: those that are not of it.

    Returns:
        The leaderboard's file.
    """
    side_by_side(_pages(view, folder, study, own))
    return folder / PAGE


def _pages(view: View, folder: Path, study: str, own: Collection[str] = ()) -> list[Callable[[], None]]:
    studies = {method: study for method in view.summary.protocol.methods if method not in own}
    tables = [name for name in (RESULTS_TABLE, DOCUMENT) if (folder / name).is_file()]
    return pages(view, folder, without_images(view.summary.results.cards), studies=studies, tables=tables)


def table_bytes(view: View) -> bytes:
    """results.csv of a view."""
    text: str = safe_table(view.summary.results.table).to_csv(index=False, lineterminator="\n")
    return text.encode()


def document_of(view: View) -> ResultsDocument:
    """results.json of a view."""
    return results_document(view.summary, view.analysis)


def report_beside(name: str, protocol: Protocol) -> Beside:
    """Write the pages of a study with the methods of this checkout that it does not have.

    They go to reports/with-<name>/, and replace neither the run's own pages nor the study's.

    Args:
        name: of the study.
        protocol: of this checkout.

    Raises:
        UserError: protocol, data or version of the suite are others than the study's, or there is no method
            that the study does not have.
    """
    study = study_folder(name)
    published = study_protocol(study)
    refuse_disagreement(study, protocol, cards_here(published), seeds_may_differ=False)
    own = [method for method in protocol.methods if method not in published.methods]
    if not own:
        raise UserError(
            f"params.yaml has no method that the study {name} does not have; add yours with: bench add-method"
        )
    both = _with_rows(published, protocol, own)
    mine = protocol.model_copy(
        update={
            "datasets": {dataset: protocol.datasets[dataset] for dataset in published.datasets},
            "methods": {method: protocol.methods[method] for method in own},
        }
    )
    of_own = read_results(mine, laid_out_or_finished)
    missing = sum(state.status != "done" for state in of_own.states.values())
    results = _united(read_study_results(study, published), of_own)
    view = view_of_results(both, results, study_trials(study, published))
    # What somebody came to see is drawn, wherever it stands.
    view = replace(view, drawn_first=(*view.drawn_first, *own))
    return Beside(write_all_pages(view, REPORTS / f"with-{name}", name, own), own, missing)


def cards_here(published: Protocol) -> dict[str, Card]:
    """The cards of a study's data sets as they are prepared here, of those that are."""
    cards = {}
    for dataset in published.datasets:
        try:
            cards[dataset] = read_card(data_folder(dataset))
        except UserError:  # refuse_disagreement says which are missing
            continue
    return cards


def _with_rows(published: Protocol, protocol: Protocol, own: list[str]) -> Protocol:
    """The study's protocol with rows of this one, and what single data sets say of them."""
    datasets = {
        name: settings.model_copy(
            update={
                "methods": settings.methods
                | {m: row for m, row in protocol.datasets[name].methods.items() if m in own}
            }
        )
        for name, settings in published.datasets.items()
    }
    rows = published.methods | {method: protocol.methods[method] for method in own}
    return published.model_copy(
        update={
            "datasets": datasets,
            "methods": rows,
            "initialisations": published.initialisations | protocol.initialisations,
        }
    )


def _united(published: Results, own: Results) -> Results:
    return Results(
        cards=published.cards,
        unprepared={},
        states=published.states | own.states,
        table=pd.concat([published.table, own.table], ignore_index=True),
        predictions=published.predictions | own.predictions,
        histories=published.histories | own.histories,
        validation=published.validation | own.validation,
        attributes=published.attributes | own.attributes,
        left_out=published.left_out | own.left_out,
    )
