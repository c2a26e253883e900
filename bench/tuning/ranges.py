"""What a search may vary: the ranges that a method's settings declare, and those of the shared optimiser."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from bench.protocol.protocol import OPTIMISATION_KEY, values
from bench.protocol.registry import RegisteredMethod
from imssl.errors import UserError
from imssl.settings.base import Tuned

# So many digits of a value are tried: more would not be told apart, and params.yaml stays readable.
DIGITS = 3


@dataclass(frozen=True)
class Range:
    """One setting that is searched.

    Attributes:
        key: of the setting.
        section: of the method's row that it is in; empty for a hyper-parameter.
        tuned: from where to where.
        current: value that params.yaml gives it now.
        elements: how many numbers it consists of, all of which get the same value; 0 for a single number.
        whole: whether it is an integer.
    """

    key: str
    section: str
    tuned: Tuned
    current: float
    elements: int
    whole: bool

    @property
    def name(self) -> str:
        """What a table calls it, such as ``optimisation.learning_rate``."""
        return f"{self.section}.{self.key}" if self.section else self.key

    @property
    def holds_current(self) -> bool:
        """Whether the present value is one that the search could try."""
        return self.tuned.low <= self.current <= self.tuned.high

    def rounded(self, value: float) -> float:
        """A value as it is tried and written."""
        return round(value) if self.whole else float(f"{value:.{DIGITS}g}")

    def written(self, value: float) -> float | list[float]:
        """A value as params.yaml holds it."""
        return [value] * self.elements if self.elements else value


def ranges_of(registered: RegisteredMethod) -> list[Range]:
    """Everything that may be tuned of a method: its own settings, then the optimiser's that it reads.

    Raises:
        UserError: the method does not train, or a setting of several numbers has different ones now.
    """
    if not registered.method.pretrains:
        raise UserError(f"{registered.id} does not pretrain, so there is nothing to tune.")
    ranges = _declared(registered.settings, "", registered.id)
    if registered.method.reads_optimisation:
        ranges += _declared(registered.optimisation, OPTIMISATION_KEY, registered.id)
    if not ranges:
        raise UserError(
            f"{registered.id} declares no range to search. Mark a setting in {registered.file.name}, for "
            "example: temperature: Annotated[float, Tuned(0.03, 0.5, log=True)] = 0.2"
        )
    return ranges


def row_changes(chosen: Mapping[str, float], ranges: list[Range], row: Mapping[str, Any]) -> dict[str, Any]:
    """Values by name as changes of a method's row in params.yaml.

    Args:
        chosen: values by name of the range.
        ranges: that were searched.
        row: as it is written, whose other values of the optimiser are kept.
    """
    changes: dict[str, Any] = {}
    for each in ranges:
        value = each.written(chosen[each.name])
        if each.section:
            section = changes.setdefault(each.section, dict(row.get(each.section, {})))
            section[each.key] = value
        else:
            changes[each.key] = value
    return changes


def _declared(settings: BaseModel, section: str, method: str) -> list[Range]:
    written, ranges = values(settings), []
    for key, field in type(settings).model_fields.items():
        for tuned in field.metadata:
            if isinstance(tuned, Tuned):
                ranges.append(_range(key, section, tuned, written[key], method))
    return ranges


def _range(key: str, section: str, tuned: Tuned, current: Any, method: str) -> Range:
    numbers = current if isinstance(current, list) else [current]
    if len(set(numbers)) > 1:
        raise UserError(
            f"methods.{method}.{key} is {current}; a search gives them all one value. Set them equal first."
        )
    elements = len(numbers) if isinstance(current, list) else 0
    return Range(key, section, tuned, numbers[0], elements, isinstance(numbers[0], int))
