"""Settings as a page shows them: names and values, nested keys joined by dots."""

import json
from typing import Any

from bench.cells.method_facts import facts_of
from bench.protocol.protocol import OPTIMISATION_KEY, Protocol
from bench.protocol.registry import different_settings
from imssl.errors import UserError

Facts = list[tuple[str, str]]


def method_settings(protocol: Protocol) -> dict[str, Any]:
    """Hyper-parameters by method, as :func:`settings_of` gives them."""
    return {method: settings_of(method, protocol) for method in protocol.methods}


def settings_of(method: str, protocol: Protocol) -> dict[str, Any]:
    """Hyper-parameters of a method, defaults included, and what differs on single data sets.

    They are as written where they are not allowed.
    """
    given = protocol.methods[method]
    try:
        settings = dict(facts_of(method, protocol).settings)
        if OPTIMISATION_KEY in given:
            settings[OPTIMISATION_KEY] = given[OPTIMISATION_KEY]
    except UserError:
        settings = dict(given)
    for dataset, different in different_settings(method, protocol).items():
        settings[f"on {dataset}"] = different
    return settings


def written_facts(content: dict[str, Any], prefix: str = "") -> Facts:
    """Settings as facts, nested keys joined by dots."""
    facts: Facts = []
    for key, value in content.items():
        if isinstance(value, dict) and value:
            facts += written_facts(value, f"{prefix}{key}.")
        else:
            facts.append((prefix + key, written(value)))
    return facts


def written(value: Any) -> str:
    """A value as it stands in params.yaml, on one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
