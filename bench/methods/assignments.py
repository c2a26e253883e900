"""Hyper-parameters given on a command line: ``--set key=value``."""

import json
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from imssl.errors import UserError


def parse_assignments(assignments: list[str]) -> dict[str, Any]:
    """The hyper-parameters given as ``--set key=value``; values are read as in params.yaml.

    Raises:
        UserError: an assignment does not have that form, or sets a key a second time.
    """
    given: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key.isidentifier():
            raise UserError(f"--set {assignment}: give key=value, for example --set temperature=0.1")
        if key in given:
            raise UserError(f"--set {assignment}: {key} is set twice")
        try:
            # By way of JSON, as params.yaml is read: a date, for example, stays text.
            given[key] = json.loads(json.dumps(YAML(typ="safe").load(value), default=str))
        except YAMLError:
            raise UserError(
                f"--set {assignment}: {value!r} is not a YAML value; write it as you would in params.yaml"
            ) from None
    return given
