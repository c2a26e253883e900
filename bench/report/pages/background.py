"""What stands around the results: warnings, holes, data cards, protocol and provenance."""

from collections import Counter
from dataclasses import dataclass

from bench.methods.checked import check_state
from bench.methods.tuned import tuning_of
from bench.protocol.protocol import Protocol, values
from bench.report.layout import Column, Entry, Row, Table, listed, number
from bench.report.pages.settings import Facts, method_settings, written, written_facts
from bench.report.view import View
from bench.summary.over_seeds import too_few_seeds, undefined_classes
from bench.summary.read import Results
from imssl.datasets.prepared import Card
from imssl.datasets.skipped import Skipped, total
from imssl.errors import UserError


@dataclass(frozen=True)
class Hole:
    """Cells without results for one reason."""

    status: str
    reason: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class DataCard:
    """A data set as the page shows it; facts only, and no counts, where it is not prepared."""

    dataset: str
    facts: Facts
    counts: Table | None
    skipped: Facts
    unused: Facts
    checksums: Facts


def introduction(protocol: Protocol) -> str:
    """One sentence on what is compared."""
    encoder = protocol.encoder
    label_sets = listed([labels.name for labels in protocol.label_sets])
    return (
        f"Compared are {_count(len(protocol.methods), 'way')} to initialise the same encoder "
        f"({encoder.name}{encoder.width_words}), on {_count(len(protocol.datasets), 'data set')} and with "
        f"{_count(len(protocol.seeds), 'seed')}: by fine-tuning with {label_sets} of the labels "
        "(nominal; what was drawn stands with the numbers), by linear probes, and by how far features and "
        "outputs move."
    )


def warnings(view: View) -> list[str]:
    """What a reader must know before comparing any two numbers."""
    protocol, results = view.summary.protocol, view.summary.results
    warned = []
    seeds = len(protocol.seeds)
    if seeds < protocol.report.least_seeds:
        warned.append(
            f"{too_few_seeds(seeds, protocol.report.least_seeds)} Differences between methods may be those "
            "between runs. List more seeds in params.yaml."
        )
    warned += (
        unchecked(protocol)
        + _unequal_tuning(view)
        + _mixed(results)
        + _unclean(results)
        + _unequal_images(results)
    )
    for dataset, group in undefined_classes(results.table).groupby("dataset", sort=False):
        names = listed([f"“{name}”" for name in group["class"]])
        warned.append(
            f"{dataset}: no AUROC for {names}, as no test image, or every one, has that label; "
            "the macro AUROC is the mean over the other classes."
        )
    for name, card in results.cards.items():
        if card.patients_note:
            warned.append(f"{name}: {card.patients_note}")
    return warned


def check_sentence(method: str, protocol: Protocol) -> str:
    """Whether the method's file has passed the suite's checks."""
    try:
        return check_state(method, protocol).sentence
    except UserError as error:
        return str(error)


def holes(results: Results) -> list[Hole]:
    """Cells without results, gathered by reason, in the protocol's order."""
    gathered: dict[tuple[str, str], list[str]] = {}
    for cell, state in results.states.items():
        if state.status != "done":
            gathered.setdefault((state.status, state.reason), []).append(cell.title)
    return [Hole(status, reason, tuple(cells)) for (status, reason), cells in gathered.items()]


def completeness(results: Results) -> str:
    """How much of the protocol has results."""
    statuses = Counter(state.status for state in results.states.values())
    done, total = statuses.pop("done", 0), len(results.states)
    if done == total:
        return f"All {total:,} cells are done."
    rest = ", ".join(f"{count:,} {status}" for status, count in sorted(statuses.items()))
    return f"{done:,} of {total:,} cells are done; {rest}."


def data_cards(protocol: Protocol, results: Results) -> list[DataCard]:
    """A card for each data set of the protocol."""
    return [data_card(name, results) for name in protocol.datasets]


def data_card(dataset: str, results: Results) -> DataCard:
    """The card of one data set."""
    if dataset in results.cards:
        return _prepared_card(results.cards[dataset])
    return DataCard(dataset, [("Not prepared", results.unprepared[dataset])], None, [], [], [])


def protocol_sections(protocol: Protocol) -> list[tuple[str, Facts]]:
    """params.yaml section by section, nested keys joined by dots."""
    content = values(protocol) | {"methods": method_settings(protocol)}
    sections: list[tuple[str, Facts]] = []
    plain = [(key, written(value)) for key, value in content.items() if not isinstance(value, dict)]
    sections.append(("run", plain))
    for key, value in content.items():
        if isinstance(value, dict):
            sections.append((key, written_facts(value)))
    return sections


def provenance_table(results: Results) -> Table:
    """Every combination of code, device and packages that cells were computed with."""
    origins: Counter[tuple[str, ...]] = Counter()
    for state in results.states.values():
        if state.status == "done" and state.record:
            origin = state.record.provenance
            commit = (origin.commit or "no repository")[:12]
            clean = {True: "clean", False: "with uncommitted changes", None: "unknown"}[origin.clean]
            packages = ", ".join(f"{name} {version}" for name, version in sorted(origin.packages.items()))
            origins[(commit, clean, origin.device, origin.python, packages)] += 1
    rows = tuple(
        Row(commit, (Entry(f"{count:,}"), *(Entry(text, numeric=False) for text in rest)))
        for (commit, *rest), count in origins.items()
    )
    heads = ("working tree", "device", "Python", "packages")
    columns = (Column("cells"), *(Column(head, numeric=False) for head in heads))
    note = "The record of each cell is its cell.json."
    return Table("provenance", "Provenance of the cells", "Commit", columns, rows, note)


def unchecked(protocol: Protocol) -> list[str]:
    """Methods that nobody knows to keep the contract."""
    warned = []
    for method in protocol.methods:
        try:
            checked = check_state(method, protocol)
        except UserError as error:
            warned.append(str(error))
        else:
            if checked.state in ("skipped", "changed"):
                warned.append(checked.sentence)
    return warned


def tuning_words(view: View) -> dict[str, str]:
    """How much each method was tuned, by method; empty for those that have nothing to tune."""
    return {method: tuning_of_method(view, method) for method in view.summary.protocol.methods}


def tuning_of_method(view: View, method: str) -> str:
    """How much one method was tuned; empty where it has nothing to tune."""
    try:
        state = tuning_of(method, view.summary.protocol, view.trials_of(method))
    except UserError as error:
        return str(error)
    return "" if state is None else state.words


def _unequal_tuning(view: View) -> list[str]:
    """Methods that were tuned more than others, or that have other values than those chosen."""
    words = {method: text for method, text in tuning_words(view).items() if text}
    if len(set(words.values())) <= 1:
        return []
    each = "; ".join(f"{method}: {text}" for method, text in words.items())
    return [f"Methods were not tuned alike, so a difference may be one of effort. {each}."]


def _unequal_images(results: Results) -> list[str]:
    """Data sets on which the methods that pretrain have not seen equally many images."""
    table = results.table
    seen = table[(table["metric"] == "images_seen") & (table["value"] > 0)]
    warned = []
    for dataset, rows in seen.groupby("dataset", sort=False):
        counts = rows.groupby("method", sort=False)["value"].mean()
        if counts.nunique() > 1:
            each = [f"{method} {number(count, 0)}" for method, count in counts.items()]
            warned.append(f"{dataset}: methods have seen unequal numbers of images: {listed(each)}.")
    return warned


def _mixed(results: Results) -> list[str]:
    """Stages run on more than one device, and packages in more than one version."""
    devices: dict[str, set[str]] = {}
    versions: dict[str, set[str]] = {}
    for cell, state in results.states.items():
        if state.status == "done" and state.record:
            origin = state.record.provenance
            devices.setdefault(cell.stage, set()).add(origin.device)
            versions.setdefault("Python", set()).add(origin.python)
            for package, version in origin.packages.items():
                versions.setdefault(package, set()).add(version)
    warned = [
        f"Cells of “{name}” were computed on different devices: {listed(sorted(kinds))}."
        for name, kinds in devices.items()
        if len(kinds) > 1
    ]
    mixed = [
        f"{name} ({listed(sorted(kinds))})" for name, kinds in sorted(versions.items()) if len(kinds) > 1
    ]
    if mixed:
        warned.append(f"Cells were computed with different versions of {listed(mixed)}.")
    return warned


def _unclean(results: Results) -> list[str]:
    done = [state.record for state in results.states.values() if state.status == "done" and state.record]
    unclean = sum(record.provenance.clean is False for record in done)
    if not unclean:
        return []
    share = "All" if unclean == len(done) else f"{unclean:,} of {len(done):,}"
    return [f"{share} cells were computed from code with uncommitted changes."]


def _prepared_card(card: Card) -> DataCard:
    height, width, channels = card.image_shape
    facts = [
        ("Source", card.source),
        ("What it is", card.description),
        ("Synthetic", "yes: procedural images, which say nothing about medicine" if card.synthetic else "no"),
        ("Task", f"{card.task}, {len(card.classes)} classes: {', '.join(card.classes)}"),
        ("Images", f"{height} × {width} pixels, {'grey' if channels == 1 else 'colour'}"),
        ("Mean", _numbers(card.channel_mean)),
        ("Standard deviation", _numbers(card.channel_std)),
        ("Split", card.split_origin),
        ("Patients", card.patients_note or "told apart; no patient is in two splits"),
        ("Licence", card.licence),
        ("Citation", card.citation),
        ("Published at", card.url),
        ("Left out", _count(total(card.skipped), "file") if card.skipped else "nothing"),
    ]
    facts = [(name, value) for name, value in facts if value]
    inputs = [(f"input {name}", checksum) for name, checksum in sorted(card.inputs.items())]
    return DataCard(
        dataset=card.name,
        facts=facts,
        counts=_counts_table(card),
        skipped=[(f"{group.count:,} × {group.reason}", _first_names(group)) for group in card.skipped],
        unused=[(f"{group.count:,} × {group.reason}", _first_names(group)) for group in card.unused],
        checksums=[*sorted(card.checksums.items()), *inputs],
    )


def _first_names(group: Skipped) -> str:
    return ", ".join(group.first) + (", ..." if group.count > len(group.first) else "")


def _counts_table(card: Card) -> Table:
    rows = tuple(
        Row(
            split,
            (
                Entry(f"{count.samples:,}"),
                Entry("–" if count.patients is None else f"{count.patients:,}"),
                *(Entry(f"{count.per_class.get(name, 0):,}") for name in card.classes),
            ),
        )
        for split, count in card.counts.items()
    )
    columns = (Column("images"), Column("patients"), *(Column(name) for name in card.classes))
    note = "A class's column counts the images with it."
    return Table(f"counts-{card.name}", "Images by split", "Split", columns, rows, note)


def _numbers(numbers: list[float]) -> str:
    return ", ".join(number(value) for value in numbers)


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
