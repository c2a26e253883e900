"""Traps: mistakes known from released code, made again on finished cells, to show how far they move a number.

Only mistakes that need no training are here. For each cell, a trap gives the numbers it affects: as the suite
reports them by default (honest), and as the mistake would have made them from the same files (trapped).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from bench.cells.files import (
    FEATURES_FILE,
    HISTORY_FILE,
    cell_path,
    data_folder,
    read_table,
)
from bench.cells.predictions import Predictions, read_predictions
from bench.cells.records import read_record
from bench.protocol.cell import Cell, cells_of
from bench.protocol.nearest_name import did_you_mean
from bench.protocol.protocol import Protocol
from bench.protocol.registry import method_file
from bench.protocol.stage_specs import PREDICTIONS_FILE, Stage
from bench.summary.bootstrap import bootstrap, bootstrap_seed, percentile_interval
from imssl.cka import cka
from imssl.datasets.prepared import Card, read_card
from imssl.errors import UserError
from imssl.metrics import metric_value
from imssl.seeds import numpy_generator
from imssl.settings.encoder import BLOCKS

# Bandwidths of the RBF kernel, in multiples of the median distance, at which CKA is meaningless.
TOO_NARROW, TOO_WIDE = 0.02, 50.0


@dataclass(frozen=True)
class Trapped:
    """One number, honest and trapped.

    Attributes:
        where: data set, method, seed and, where there is one, label set of the cell.
        quantity: what the number measures.
        honest: what the suite reports by default.
        trapped: what the trap makes of it.
    """

    where: str
    quantity: str
    honest: float
    trapped: float

    @property
    def moved(self) -> float:
        """How far the trap moves the number."""
        return self.trapped - self.honest


@dataclass(frozen=True)
class Trap:
    """A trap that can be set on finished cells.

    Attributes:
        mistake: that is made, in a few words.
        set_on: makes it on a cell, given its data set's card and the protocol.
        stage: of the cells that it is set on.
        methods: of the protocol whose cells it is set on.
        most_cells: that it is set on unless the user asks for more; None for all. A trap that reads what is
            stored takes no time, one that encodes images again does.
    """

    mistake: str
    set_on: Callable[[Cell, Card, Protocol], Iterator[Trapped]]
    stage: Stage = "finetune"
    methods: Callable[[Protocol], list[str]] = lambda protocol: list(protocol.methods)
    most_cells: int | None = None


def spring(name: str, protocol: Protocol, most_cells: int | None = None) -> list[Trapped]:
    """Set a trap on finished cells.

    Args:
        name: of the trap.
        protocol: of the run.
        most_cells: the first so many of `cells_for`; without it, as many as the trap says.

    Raises:
        UserError: there is no trap of this name, or no number that it affects.
    """
    cells = cells_for(name, protocol)
    trap = TRAPS[name]
    trapped: list[Trapped] = []
    for cell in cells[: most_cells or trap.most_cells]:
        trapped += trap.set_on(cell, read_card(data_folder(cell.dataset)), protocol)
    if not trapped:
        cells_wanted = "fine-tuned cells" if trap.stage == "finetune" else "pretrained encoders"
        raise UserError(f"there are no {cells_wanted} to set the trap on. Run: dvc repro")
    return trapped


def cells_for(name: str, protocol: Protocol) -> list[Cell]:
    """The finished cells that a trap can be set on, by seed, then method, so that a few show all data sets.

    Raises:
        UserError: there is no trap of this name.
    """
    if name not in TRAPS:
        raise UserError(f"there is no trap {name}. There are: {', '.join(TRAPS)}.{did_you_mean(name, TRAPS)}")
    trap = TRAPS[name]
    cells = [
        cell
        for method in trap.methods(protocol)
        for dataset in protocol.datasets
        for cell in cells_of(trap.stage, dataset, method, protocol)
    ]
    records = {cell: read_record(cell_path(cell)) for cell in cells}
    finished = [cell for cell, record in records.items() if record and record.status == "done"]
    return sorted(finished, key=lambda cell: protocol.seeds.index(cell.seed))


def _last_epoch(cell: Cell, card: Card, protocol: Protocol) -> Iterator[Trapped]:
    metric = read_table(cell_path(cell) / HISTORY_FILE)["validation_metric"]
    if not metric.isna().any():
        yield Trapped(_where(cell), f"validation {card.primary_metric}", metric.max(), metric.iloc[-1])


def _narrow_interval(cell: Cell, card: Card, protocol: Protocol) -> Iterator[Trapped]:
    draws = _draws(cell, card, protocol)
    honest = _width(draws, protocol.report.level)
    if honest is not None:
        defined = draws[~np.isnan(draws)]
        trapped = 2 * 1.96 * float(defined.std(ddof=1)) / np.sqrt(len(defined))
        yield Trapped(_where(cell), f"width of the interval of {card.primary_metric}", honest, trapped)


def _class_spread(cell: Cell, card: Card, protocol: Protocol) -> Iterator[Trapped]:
    """Percentiles over the AUROCs of all classes and resamples together, for a mean over the classes."""
    if card.task == "binary":
        return
    stored, seed = _stored(cell, card), bootstrap_seed(cell.dataset)
    labels = stored.labels if stored.labels.ndim == 2 else np.eye(len(card.classes), dtype=int)[stored.labels]
    per_class = []
    for c in range(len(card.classes)):
        positive = stored.probabilities[:, c]
        binary = np.stack([1 - positive, positive], axis=1)
        resamples = protocol.report.resamples
        per_class.append(bootstrap("binary", labels[:, c], binary, stored.patients, "auroc", resamples, seed))
    draws = np.array(per_class)
    defined = draws[:, ~np.isnan(draws).all(axis=0)]
    honest = _width(np.nanmean(defined, axis=0), protocol.report.level)
    trapped = _width(draws.ravel(), protocol.report.level)
    if honest is not None and trapped is not None:
        yield Trapped(_where(cell), "width of the interval of macro_auroc", honest, trapped)


def _drop_last(cell: Cell, card: Card, protocol: Protocol) -> Iterator[Trapped]:
    stored, metric = _stored(cell, card), card.primary_metric
    in_full_batches = len(stored.ids) // protocol.finetune.batch_size * protocol.finetune.batch_size
    if not in_full_batches:
        return
    labels, probabilities = stored.labels[:in_full_batches], stored.probabilities[:in_full_batches]
    honest = metric_value(metric, card.task, stored.labels, stored.probabilities)
    trapped = metric_value(metric, card.task, labels, probabilities)
    if honest is not None and trapped is not None:
        dropped = len(stored.ids) - in_full_batches
        yield Trapped(_where(cell), f"test {metric}, {dropped} dropped", honest, trapped)


def _biased_cka(cell: Cell, card: Card, protocol: Protocol) -> Iterator[Trapped]:
    """On unrelated rows, of which an unbiased estimate is about 0."""
    for block, before, after in _features(cell):
        order = numpy_generator(cell.seed, "unpaired").permutation(len(after))
        values = cka(before, after[order]), cka(before, after[order], debiased=False)
        yield Trapped(_where(cell), f"linear CKA of unrelated images, block {block}", *values)


def _unpaired_cka(cell: Cell, card: Card, protocol: Protocol) -> Iterator[Trapped]:
    for block, before, after in _features(cell):
        order = numpy_generator(cell.seed, "unpaired").permutation(len(after))
        yield Trapped(
            _where(cell), f"linear CKA, block {block}", cka(before, after), cka(before, after[order])
        )


def _rbf_narrow(cell: Cell, card: Card, protocol: Protocol) -> Iterator[Trapped]:
    """On unrelated rows: in both kernels every image is similar to itself only, so biased CKA is 1."""
    yield from _with_bandwidth(cell, protocol, TOO_NARROW, "unrelated images")


def _rbf_wide(cell: Cell, card: Card, protocol: Protocol) -> Iterator[Trapped]:
    """On related rows: the kernel is linear over all distances, so RBF CKA repeats linear CKA."""
    yield from _with_bandwidth(cell, protocol, TOO_WIDE, "the same images")


def _with_bandwidth(cell: Cell, protocol: Protocol, bandwidth: float, images: str) -> Iterator[Trapped]:
    for block, before, after in _features(cell):
        rows = np.arange(len(after))
        if images == "unrelated images":
            rows = numpy_generator(cell.seed, "unpaired").permutation(rows)
        honest = cka(before, after[rows], "rbf", bandwidth=protocol.reuse.bandwidth)
        trapped = cka(before, after[rows], "rbf", debiased=bandwidth > 1, bandwidth=bandwidth)
        yield Trapped(_where(cell), f"RBF CKA of {images}, block {block}", honest, trapped)


def _batch_norm_state(cell: Cell, card: Card, protocol: Protocol) -> Iterator[Trapped]:
    """The probe that the suite reports of a filled encoder, and that of the statistics it had before."""
    # Imported here: torch takes seconds, and the other traps do without.
    from bench.trust.batch_norm_state import probe_both_states

    probed = probe_both_states(cell, protocol)
    if probed.filled is not None and probed.unfilled is not None:
        quantity = f"probe of block {BLOCKS}, test {card.primary_metric}"
        yield Trapped(_where(cell), quantity, probed.filled, probed.unfilled)


def _distinct_encoders(protocol: Protocol) -> list[str]:
    """Without `random-init` where there is `random-init-filled`: one encoder in either state."""
    files = {method: method_file(method, protocol).name for method in protocol.methods}
    repeated = "random_init.py" if "random_init_filled.py" in files.values() else None
    return [method for method, file in files.items() if file != repeated]


TRAPS: dict[str, Trap] = {
    "last-epoch": Trap("the weights of the last evaluation instead of those of the best one", _last_epoch),
    "narrow-interval": Trap(
        "1.96 deviations over the root of the number of resamples, as if resamples were patients",
        _narrow_interval,
    ),
    "class-spread": Trap("the spread between classes in the interval of their mean", _class_spread),
    "drop-last": Trap("the last, smaller batch of test images dropped", _drop_last),
    "biased-cka": Trap("the usual estimate of CKA, which grows with the number of features", _biased_cka),
    "unpaired-cka": Trap("CKA of rows that are not in the same order before and after", _unpaired_cka),
    "narrow-bandwidth": Trap(
        "an RBF kernel so narrow that biased CKA is 1 whatever it compares", _rbf_narrow
    ),
    "wide-bandwidth": Trap("an RBF kernel so wide that it only repeats the linear one", _rbf_wide),
    "batch-norm-state": Trap(
        "batch norm left as training or initialisation left it, not filled with the images' statistics",
        _batch_norm_state,
        stage="pretrain",
        methods=_distinct_encoders,
        most_cells=6,
    ),
}


def _where(cell: Cell) -> str:
    labels = "" if cell.labels is None else f" {cell.labels.id}"
    return f"{cell.dataset} {cell.method} seed {cell.seed}{labels}"


def _stored(cell: Cell, card: Card) -> Predictions:
    return read_predictions(cell_path(cell) / PREDICTIONS_FILE, card)


def _draws(cell: Cell, card: Card, protocol: Protocol) -> np.ndarray:
    stored = _stored(cell, card)
    return bootstrap(
        card.task,
        stored.labels,
        stored.probabilities,
        stored.patients,
        card.primary_metric,
        protocol.report.resamples,
        bootstrap_seed(cell.dataset),
    )


def _width(draws: np.ndarray, level: float) -> float | None:
    low, high = percentile_interval(draws, level)
    return None if low is None or high is None else high - low


def _features(cell: Cell) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The number of the last block, and its features before and after fine-tuning, (N, D) each."""
    with np.load(cell_path(cell) / FEATURES_FILE, allow_pickle=False) as stored:
        last = max(int(name.removeprefix("before_")) for name in stored.files if name.startswith("before_"))
        yield last, stored[f"before_{last}"], stored[f"after_{last}"]
