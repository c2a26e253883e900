"""Whether a study and this checkout may be compared: protocol, data and version of the suite."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.protocol.protocol import Protocol, values
from bench.report.answer.run_facts import suite_version
from bench.sharing.differences import different_values
from bench.sharing.submission import shared_protocol
from bench.studies.stored.files import read_study
from bench.studies.stored.results import study_cards, study_protocol
from imssl.datasets.prepared import Card
from imssl.errors import UserError

# A message names at most so many differences.
MOST_NAMED = 6


def refuse_disagreement(
    study: Path,
    protocol: Protocol,
    cards: Mapping[str, Card],
    seeds_may_differ: bool,
    only: str | None = None,
) -> None:
    """Refuse to put numbers side by side that were not made in the same way.

    Args:
        study: its folder.
        protocol: of this checkout.
        cards: of the data sets of the study as they are prepared here.
        seeds_may_differ: whether this checkout may have other seeds, as where some are added.
        only: data set whose content is asked for; None for that of all.

    Raises:
        UserError: the suite's version, a setting that all methods share, the row of a method that both have,
            or the content of a data set is another one; the message names what.
    """
    theirs, record = study_protocol(study), read_study(study)
    found = [] if record.suite == suite_version() else [
        f"suite: version {suite_version()} here, {record.suite} in the study"
    ]  # fmt: skip
    found += [
        f"{path}: {here} here, {there} in the study"
        for path, here, there in different_values(
            _compared(protocol, theirs, seeds_may_differ), _compared(theirs, protocol, seeds_may_differ)
        )
    ]
    for dataset, card in study_cards(study, theirs).items():
        if only not in (None, dataset):
            continue
        if dataset not in cards:
            found.append(f"data/{dataset} is not prepared here; run: dvc repro data@{dataset}")
            continue
        found += [
            f"data/{dataset}/{name} has other content"
            for name, sha in card.checksums.items()
            if cards[dataset].checksums.get(name) != sha
        ]
    if found:
        more = f"\n  and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
        raise UserError(
            f"the study {record.name} and this checkout cannot be compared:\n  "
            + "\n  ".join(found[:MOST_NAMED])
            + more
            + f"\nThe study's settings are in {study / 'params.yaml'}."
        )


def _compared(protocol: Protocol, other: Protocol, seeds_may_differ: bool) -> dict[str, Any]:
    """What of a protocol must agree with another one's: what all methods share, and the rows of both."""
    content, written = shared_protocol(protocol), values(protocol)
    if seeds_may_differ:
        del content["seeds"]
    # A data set of this checkout alone is no part of the comparison.
    content["datasets"] = {k: row for k, row in content["datasets"].items() if k in other.datasets}
    both = [name for name in protocol.methods if name in other.methods]
    for dataset, settings in content["datasets"].items():
        rows = written["datasets"][dataset].get("methods", {})
        settings["methods"] = {name: rows[name] for name in both if name in rows}
    return content | {"methods": {name: written["methods"][name] for name in both}}
