"""``bench export``: what a reviewer or a colleague needs of a run, in one archive.

Equal runs give equal bytes.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.cells.files import DATA, REPORTS
from bench.cells.store.last_checks import LastCheck
from bench.export.chart_files import write_charts
from bench.export.croissant import NAME as CROISSANT
from bench.export.croissant import croissant
from bench.export.latex import as_latex
from bench.export.markdown import as_markdown
from bench.export.score_tables import score_tables
from bench.machine.workers import side_by_side
from bench.methods.checked import record_file
from bench.protocol.params_file import PARAMS
from bench.protocol.registry import method_file
from bench.report.answer.run_facts import last_computed, suite_version
from bench.report.charts.plot_tables import PLOTS_PAGE
from bench.report.layout import listed
from bench.report.leaderboard import LEADERBOARD, pages
from bench.report.material.sample_images import without_images
from bench.report.view import View
from bench.sharing.pack import zipped
from bench.studies.stored.files import STUDIES
from imssl.datasets.prepared import CARD_FILE
from imssl.durable import write_bytes
from imssl.errors import UserError

PIPELINE, LOCK = Path("dvc.yaml"), Path("dvc.lock")
# Of a run without a finished cell.
NO_DATE = "1970-01-01"

READ_ME = """# Results of imssl-bench {version}, profile {profile}

Open `reports/leaderboard.html` in a browser; it needs no network.

| file | what it is |
| --- | --- |
| `reports/` | the leaderboard, a page per method and data set, and every number as CSV and JSON |
| `tables/` | the scores as Markdown and as LaTeX (booktabs, threeparttable) |
| `charts/` | every chart as SVG and PNG, and its data as CSV |
| `cards/` | what each data set is, and the checksums of its prepared images |
| `methods/` | the file of each method, and the record of its checks where it was added to the suite |
| `params.yaml`, `dvc.yaml`, `dvc.lock` | what was asked for, and the checksums of everything it came to |
| `croissant.json` | metadata of `reports/results.csv` (MLCommons Croissant) |

To make the run again: imssl-bench {version}, these three files in a folder made by `bench init`, the data
sets in the places that params.yaml names, then `bench repro`. `bench verify` checks the result.
"""


def export(view: View, file: Path, checks: Sequence[LastCheck] = ()) -> list[str]:
    """Write the archive, without images of data sets whose licence does not say that they may be passed on.

    Args:
        view: of the run, whose report is written.
        file: the archive; one of that name is replaced.
        checks: what verbs have last found, for the leaderboard to show.

    Returns:
        Sentences about what is not in it, and why.

    Raises:
        UserError: the file is a folder, or its folder is not there.
    """
    if file.is_dir() or not file.parent.is_dir():
        reason = "is a folder" if file.is_dir() else "cannot be written: its folder is not there"
        raise UserError(f"{file} {reason}. Name a file, such as results.zip.")
    files = _files_of_project(view)
    withheld = without_images(view.summary.results.cards)
    tables = score_tables(view)
    files["tables/scores.md"] = as_markdown(tables).encode()
    files["tables/scores.tex"] = as_latex(tables).encode()
    with tempfile.TemporaryDirectory() as folder:
        notes = write_charts(view, Path(folder))
        files |= {f"charts/{chart.name}": chart.read_bytes() for chart in Path(folder).iterdir()}
    if withheld:
        files |= _pages(view, withheld, checks)
        notes.append(
            f"images of {listed(withheld)}: not in it, as their licence does not say that they may be"
        )
    made = last_computed(view.summary.results) or NO_DATE
    metadata = croissant(view.summary.protocol, files, made)
    files[CROISSANT] = (json.dumps(metadata, indent=1, ensure_ascii=False, default=str) + "\n").encode()
    profile = view.summary.protocol.profile
    files["README.md"] = READ_ME.format(version=suite_version(), profile=profile).encode()
    write_bytes(file, zipped(files))
    absent = [path.name for path in (PIPELINE, LOCK) if not path.is_file()]
    if absent:
        notes.append(f"{' and '.join(absent)}: not in it, as this folder has none")
    return notes


def _pages(view: View, withheld: Sequence[str], checks: Sequence[LastCheck]) -> dict[str, bytes]:
    """The pages of reports/ without the images of some data sets."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        side_by_side(pages(view, folder, withheld, checks))
        written = [path for path in folder.rglob("*") if path.is_file()]
        return {f"{REPORTS}/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in written}


def _files_of_project(view: View) -> dict[str, bytes]:
    protocol = view.summary.protocol
    if not LEADERBOARD.is_file():
        raise UserError(f"{LEADERBOARD} is not there. Write it with: bench report")
    # Pictures in reports/ are the documentation's, and studies/ and with-NAME/ are other results than these.
    # tuning/ is no part of the run, but says how it was chosen.
    inside = [path for path in REPORTS.iterdir() if path.name != STUDIES.name and not path.match("with-*")]
    reports = [path for place in inside for path in (place, *place.rglob("*"))]
    reports = [path for path in reports if path.is_file() and path.suffix != ".png" and path != PLOTS_PAGE]
    files = {path.as_posix(): path.read_bytes() for path in reports}
    files |= {path.name: path.read_bytes() for path in (PARAMS, PIPELINE, LOCK) if path.is_file()}
    for dataset in protocol.datasets:
        card = DATA / dataset / CARD_FILE
        if card.is_file():
            files[f"cards/{dataset}.json"] = card.read_bytes()
    for method in protocol.methods:
        source = method_file(method, protocol)
        files[f"methods/{source.name}"] = source.read_bytes()
        record = record_file(source.name)
        if record.is_file():
            files[f"methods/checked/{record.name}"] = record.read_bytes()
    return files
