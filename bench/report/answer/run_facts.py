"""Which run the page is about: when it was computed and by which version, and whether its images are real."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path

from bench.protocol.protocol import Protocol
from bench.protocol.source_files.places import is_checkout
from bench.report.layout import listed
from bench.summary.read import Results
from bench.summary.summary import synthetic_datasets

PAPER = "https://openreview.net/forum?id=M5j42PvY65V"
PAPER_CODE = "https://github.com/aakashrkaku/intermdiate_layer_matter_ssl"
# Of a checkout; the first that is there.
DOCUMENTATION = ("docs/index.md", "README.md")


@dataclass(frozen=True)
class Banner:
    """What must be known of the images before any number is read.

    Attributes:
        title: in bold.
        text: the rest.
    """

    title: str
    text: str


def banner(protocol: Protocol, results: Results, datasets: tuple[str, ...]) -> Banner | None:
    """A banner for some data sets; None where all of their images are real."""
    synthetic = [name for name in synthetic_datasets(protocol, results) if name in datasets]
    if not synthetic:
        return None
    are = "is" if len(synthetic) == 1 else "are"
    if len(synthetic) == len(datasets):
        return Banner(
            "Synthetic images.",
            f"{listed(synthetic)} {are} procedural: the numbers show that the pipeline works and say nothing "
            "about medicine.",
        )
    return Banner(
        "Partly synthetic images.",
        f"{listed(synthetic)} {are} procedural and {'says' if len(synthetic) == 1 else 'say'} nothing about "
        "medicine; the other data sets are real. What is over all data sets mixes both: leave the procedural "
        "out with the filter “Data sets”.",
    )


def are_all_synthetic(protocol: Protocol, results: Results) -> bool:
    """Whether the run has no real image, so that nothing can be said about the paper's claims."""
    return len(synthetic_datasets(protocol, results)) == len(protocol.datasets)


def suite_version() -> str:
    """Of the installed suite; “unknown” where it is run without being installed."""
    try:
        return version("imssl-bench")
    except PackageNotFoundError:
        return "unknown"


def project_links() -> list[tuple[str, str]]:
    """Name and address of what the suite's package names: its code, its documentation; empty without any."""
    try:
        named = metadata("imssl-bench").get_all("Project-URL") or []
    except PackageNotFoundError:
        named = []
    pairs = [entry.partition(", ") for entry in named]
    return [(name, address) for name, _, address in pairs]


def documentation_beside(folder: Path) -> str:
    """Address of the suite's documentation, as seen from a folder of reports; empty where it is not there.

    A project's own docs are not the suite's, so only a checkout has them.
    """
    if not is_checkout():
        return ""
    places = [name for name in DOCUMENTATION if (folder.parent / name).is_file()]
    return f"../{places[0]}" if places else ""


def last_computed(results: Results) -> str:
    """Day on which the last of the cells was started, as YYYY-MM-DD in UTC; empty without any.

    The day of the results and not of the page: equal results are to give equal pages.
    """
    records = [state.record for state in results.states.values() if state.status == "done" and state.record]
    return max((record.provenance.started for record in records), default="")[:10]
