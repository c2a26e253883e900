"""The ledger of differences: every way in which a run departs from the paper or its released code.

The references stand in paper.yaml; the run's side is read from its parameters and data cards.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field
from ruamel.yaml import YAML

from bench.analysis.reproduction.initial_weights import protocol_start, row_start
from bench.analysis.reproduction.paper_methods import file_stem
from bench.analysis.row_models import Flag, RowModel
from bench.cells.method_facts import facts_of
from bench.protocol.protocol import OPTIMISATION_KEY, Protocol, values
from imssl.datasets.prepared import Card
from imssl.errors import UserError

REFERENCES = Path(__file__).parent / "paper.yaml"


class LedgerRow(RowModel):
    """One aspect of a run beside the paper and its released code."""

    about: str = Field(description="run, or the id of the method or data set that the row is about")
    kind: str = Field(description="run, method or dataset")
    aspect: str = Field(description="what is compared")
    paper: str = Field(description="what the paper says; empty where that is not known here")
    released: str = Field(description="what its released code does; empty where that is not known here")
    here: str = Field(description="what this run does")
    differs: Flag = Field(description="True, False, or None where neither reference is known")
    differs_from: str = Field(description="paper, released code, both, or empty")


Value = Any


class _Unset:
    """A value that a run does not have, such as the grading of a data set that has no grades."""


UNSET = _Unset()


def ledger_table(protocol: Protocol, cards: Mapping[str, Card]) -> pd.DataFrame:
    """Compare a run with the paper, aspect by aspect.

    Args:
        protocol: of the run.
        cards: of the data sets that are prepared.

    Returns:
        Rows as LedgerRow: first the run, then each of the paper's methods in it (and its values on one data
        set where they, or the paper's, are different there), then each data set.
    """
    references = _references()
    run = values(protocol) | {"start": {"words": protocol_start(protocol)}}
    rows = list(_rows(references["run"], "run", "run", run))
    for method in protocol.methods:
        rows += _start_rows(references["run"], method, protocol)
        rows += _method_rows(references["method"], method, protocol)
        rows += _optimiser_rows(references["run"], method, protocol)
    for dataset, settings in protocol.datasets.items():
        content = {
            "dataset": values(settings),
            "pretrain": {"length": protocol.pretrain_of(dataset).words},
            "augmentation": values(protocol.augmentation_of(dataset)),
            "finetune_augmentation": values(protocol.finetune_augmentation_of(dataset)),
        }
        if dataset in cards:
            content["card"] = values(cards[dataset])
        rows += _rows(references["dataset"], "dataset", dataset, content, settings.source)
    return LedgerRow.table(rows)


def differs(reference: Value, here: Value) -> bool | None:
    """Whether a run's value departs from a reference; None where the reference is not known."""
    if reference is None:
        return None
    if isinstance(reference, dict):
        if "any_of" in reference:
            return all(differs(allowed, here) for allowed in reference["any_of"])
        if "from" in reference:
            return not reference["from"] <= here <= reference["to"]
        return True
    if isinstance(reference, list) and isinstance(here, Sequence) and not isinstance(here, str):
        pairs = zip(reference, here, strict=False)
        return len(reference) != len(here) or any(differs(expected, value) for expected, value in pairs)
    if _is_number(reference) and _is_number(here):
        return not math.isclose(reference, here, rel_tol=1e-9)
    return bool(reference != here)


@cache
def _references() -> dict[str, list[dict[str, Any]]]:
    return YAML(typ="safe").load(REFERENCES)


def _method_rows(
    references: list[dict[str, Any]], method: str, protocol: Protocol
) -> Iterator[dict[str, Any]]:
    stem = file_stem(protocol, method)
    known = [reference for reference in references if stem in reference["methods"]]
    common = {"settings": _settings(method, protocol)}
    yield from _rows([row for row in known if not _is_by_source(row)], "method", method, common)
    for dataset, settings in protocol.datasets.items():
        content = {"settings": _settings(method, protocol, dataset)}
        differing = [
            row | {"aspect": f"{row['aspect']}, on {dataset}"}
            for row in known
            if _is_by_source(row) or _looked_up(row["here"], content) != _looked_up(row["here"], common)
        ]
        yield from _rows(differing, "method", method, content, settings.source)


def _start_rows(
    references: list[dict[str, Any]], method: str, protocol: Protocol
) -> Iterator[dict[str, Any]]:
    """What a row's encoder starts from, where that is not what the run's own row says."""
    words = row_start(method, protocol)
    if words != protocol_start(protocol):
        written = [row for row in references if row["here"] == "start.words"]
        yield from _rows(written, "method", method, {"start": {"words": words}})


def _optimiser_rows(
    references: list[dict[str, Any]], method: str, protocol: Protocol
) -> Iterator[dict[str, Any]]:
    """What the method's row says of the optimiser, where the run's own rows say something else."""
    different = protocol.methods[method].get(OPTIMISATION_KEY, {})
    content = {"pretrain": {"optimisation": different}}
    written = [row for row in references if row["here"].startswith("pretrain.optimisation.")]
    yield from _rows(written, "method", method, content)


def _rows(
    references: list[dict[str, Any]], kind: str, about: str, content: dict[str, Any], source: str = ""
) -> Iterator[dict[str, Any]]:
    for reference in references:
        here = _looked_up(reference["here"], content)
        if here is UNSET:
            continue
        paper, released = (_of_source(reference.get(name), source) for name in ("paper", "released"))
        departures = {"paper": differs(paper, here), "released code": differs(released, here)}
        departs = [name for name, departure in departures.items() if departure]
        known = [departure for departure in departures.values() if departure is not None]
        yield {
            "about": about,
            "kind": kind,
            "aspect": reference["aspect"],
            "paper": written(paper),
            "released": written(released),
            "here": written(here),
            "differs": any(known) if known else None,
            "differs_from": "both" if len(departs) == 2 else "".join(departs),
        }


def _is_by_source(reference: dict[str, Any]) -> bool:
    sides = (reference.get("paper"), reference.get("released"))
    return any(isinstance(side, dict) and "by_source" in side for side in sides)


def _of_source(reference: Value, source: str) -> Value:
    """The reference for one source; a data set that the paper does not have is compared with all of them."""
    if not isinstance(reference, dict) or "by_source" not in reference:
        return reference
    by_source = reference["by_source"]
    if source in by_source:
        return by_source[source]
    distinct: list[Value] = []
    for value in by_source.values():
        if value not in distinct:
            distinct.append(value)
    return distinct[0] if len(distinct) == 1 else {"any_of": distinct}


def written(value: Value) -> str:
    """A value or a reference as text."""
    if value is None:
        return ""
    if isinstance(value, dict):
        if "text" in value:
            return str(value["text"])
        if "any_of" in value:
            return f"one of {', '.join(map(_bracketed, value['any_of']))}"
        return f"{written(value['from'])} to {written(value['to'])}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(written(item) for item in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _bracketed(value: Value) -> str:
    return f"({written(value)})" if isinstance(value, list) else written(value)


def _looked_up(here: str, content: dict[str, Any]) -> Value:
    """The value at a key, or a text with the values of keys in it; UNSET where the run has no such key."""
    if re.fullmatch(r"[a-z_]+(\.[a-z_0-9]+)+|seeds", here):
        return _at(here, content)
    return re.sub(r"\{([^}]+)\}", lambda match: written(_at(match[1], content)), here)


def _at(key: str, content: Any) -> Value:
    for part in key.split("."):
        if isinstance(content, Mapping) and part in content:
            content = content[part]
        elif isinstance(content, list) and part.isdigit() and int(part) < len(content):
            content = content[int(part)]
        else:
            return UNSET
    return content


def _settings(method: str, protocol: Protocol, dataset: str | None = None) -> dict[str, Any]:
    """Hyper-parameters of a method, defaults included; as written where they are not allowed."""
    try:
        facts = facts_of(method, protocol)
        return facts.settings if dataset is None else facts.settings_on(dataset)
    except UserError:
        return protocol.written_settings(method, dataset)


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
