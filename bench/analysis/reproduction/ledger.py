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

from bench.analysis.reproduction.paper_methods import file_stem
from bench.analysis.row_models import Flag, RowModel
from bench.protocol.protocol import Protocol, values
from bench.protocol.registry import load_method
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
        Rows as LedgerRow: first the run, then each of the paper's methods in it, then each data set.
    """
    references = _references()
    rows = list(_rows(references["run"], "run", "run", values(protocol)))
    for method in protocol.methods:
        stem = file_stem(protocol, method)
        about_it = [reference for reference in references["method"] if stem in reference["methods"]]
        if about_it:
            rows += _rows(about_it, "method", method, {"settings": _settings(method, protocol)})
    for dataset, settings in protocol.datasets.items():
        content = {"dataset": values(settings)}
        if dataset in cards:
            content["card"] = values(cards[dataset])
        rows += _rows(references["dataset"], "dataset", dataset, content)
    return LedgerRow.table(rows)


def differs(reference: Value, here: Value) -> bool | None:
    """Whether a run's value departs from a reference; None where the reference is not known."""
    if reference is None:
        return None
    if isinstance(reference, dict):
        if "any_of" in reference:
            return here not in reference["any_of"]
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


def _rows(
    references: list[dict[str, Any]], kind: str, about: str, content: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    for reference in references:
        here = _looked_up(reference["here"], content)
        if here is UNSET:
            continue
        paper, released = reference.get("paper"), reference.get("released")
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


def written(value: Value) -> str:
    """A value or a reference as text."""
    if value is None:
        return ""
    if isinstance(value, dict):
        if "any_of" in value:
            return f"one of {', '.join(written(choice) for choice in value['any_of'])}"
        return value["text"] if "text" in value else f"{written(value['from'])} to {written(value['to'])}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(written(item) for item in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


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


def _settings(method: str, protocol: Protocol) -> dict[str, Any]:
    """Hyper-parameters of a method, defaults included; as written where they are not allowed."""
    try:
        return values(load_method(method, protocol).settings)
    except UserError:
        return dict(protocol.methods[method])


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
