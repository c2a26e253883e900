"""What ``bench methods`` lists: origin, settings, checks and finished cells of each method of params.yaml."""

import hashlib
from dataclasses import dataclass
from typing import Any

from bench.cells.keys import Keys
from bench.cells.method_facts import facts_of
from bench.forecast.estimate import RunEstimate
from bench.forecast.of_method import done_and_all
from bench.methods.checked import check_state
from bench.protocol.protocol import OPTIMISATION_KEY, Protocol
from bench.protocol.registry import EXAMPLES, OF_THE_SUITE, different_settings, method_file


@dataclass(frozen=True)
class ListedMethod:
    """A row of ``bench methods``; as JSON, an object with these keys.

    Attributes:
        id: name in params.yaml.
        file: name of its file in imssl/methods.
        origin: ``built-in``, ``example`` (comes with the suite) or ``added`` (by the user).
        sha256: of the file.
        checks: ``built-in``, ``passed``, ``skipped`` or ``changed``; see `bench.methods.checked.CheckState`.
        settings: hyper-parameters, defaults included.
        differs: those that are not at their default.
        optimisation: values of the optimiser that are its own.
        on_datasets: hyper-parameters that differ again on single data sets, by data set.
        cells_done: number of finished cells.
        cells: number of cells in all.
    """

    id: str
    file: str
    origin: str
    sha256: str
    checks: str
    settings: dict[str, Any]
    differs: dict[str, Any]
    optimisation: dict[str, Any]
    on_datasets: dict[str, dict[str, Any]]
    cells_done: int
    cells: int


def listed_methods(protocol: Protocol) -> list[ListedMethod]:
    """Every method, in the order of params.yaml.

    Raises:
        UserError: a method's file or hyper-parameters are not valid.
    """
    estimate = RunEstimate(Keys(protocol))
    return [_listed(method, protocol, estimate) for method in protocol.methods]


def _listed(method: str, protocol: Protocol, estimate: RunEstimate) -> ListedMethod:
    file, facts = method_file(method, protocol), facts_of(method, protocol)
    done, cells = done_and_all(method, estimate)
    return ListedMethod(
        id=method,
        file=file.name,
        origin=origin_of(file.name),
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        checks=check_state(method, protocol).state,
        settings=facts.settings,
        differs={key: value for key, value in facts.settings.items() if value != facts.defaults[key]},
        optimisation=protocol.methods[method].get(OPTIMISATION_KEY, {}),
        on_datasets=different_settings(method, protocol),
        cells_done=done,
        cells=cells,
    )


def origin_of(file_name: str) -> str:
    """Where a method file comes from: ``built-in``, ``example`` or ``added``."""
    if file_name in OF_THE_SUITE:
        return "built-in"
    return "example" if file_name in EXAMPLES else "added"
