"""How long a protocol takes on many machines: simulated cell by cell, beside what no order can beat.

Cells begin as `bench run` begins them: when all that they build on is finished, and what most work waits for
first.
"""

import heapq
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter

from bench.forecast.estimate import RunEstimate, image_bytes
from bench.protocol.cell import Cell, built_on
from bench.protocol.stage_specs import STAGES
from imssl.errors import UserError

# Assumed, not measured on a cluster. Of a cell beside its own seconds: handing it to a machine, a process for
# it, its place in the store. The driver hands out one after another.
CELL_SECONDS, DRIVER_SECONDS = 0.2, 0.005
# Assumed of the file server that all machines read the prepared images from; a modest one.
SERVER_BYTES_A_SECOND = 1e9


@dataclass(frozen=True)
class Machines:
    """Equal machines.

    Attributes:
        count: how many.
        slots: cells of each at a time: on its GPUs, or on its processors where it has none.
        has_gpus: whether the slots are GPUs; cells that need none then run beside them, on as many
            processors.
    """

    count: int
    slots: int
    has_gpus: bool


@dataclass(frozen=True)
class Makespan:
    """A run of all cells of a protocol on some machines.

    Attributes:
        cells: in all.
        seconds: from the first cell to the end of the last.
        lower_bound: that no order of the cells can beat.
        efficiency: lower bound over seconds.
        bottleneck: what the lower bound comes from, in words.
        stage_seconds: of all cells of each stage, one after another.
        data_seconds: that machines waited for prepared images in all.
        data_bytes: of the prepared images, once.
    """

    cells: int
    seconds: float
    lower_bound: float
    efficiency: float
    bottleneck: str
    stage_seconds: dict[str, float]
    data_seconds: float
    data_bytes: int


def parse_machines(text: str) -> Machines:
    """What ``64x1gpu`` (64 machines of one GPU) or ``16x8`` (16 of eight processors) means.

    Raises:
        UserError: it is neither.
    """
    match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,3})(gpu|cpu)?", text)
    if match is None:
        raise UserError(
            f"--machines {text}: write how many, x, and the cells of each at a time: 64x1gpu for 64 machines "
            "of one GPU, 16x8 for 16 machines with room for eight cells on their processors."
        )
    return Machines(int(match[1]), int(match[2]), match[3] == "gpu")


def makespan(estimate: RunEstimate, machines: Machines) -> Makespan:
    """Simulate all cells of an estimate, none of which is finished yet.

    Args:
        estimate: of the seconds of each cell.
        machines: that compute them.
    """
    protocol, cells = estimate.protocol, estimate.cells
    seconds = {cell: estimate.seconds(cell) + CELL_SECONDS for cell in cells}
    needs = {cell: set(built_on(cell, protocol)) & seconds.keys() for cell in cells}
    ways = longest_ways(needs, seconds)
    bytes_of = {dataset: image_bytes(dataset, protocol) for dataset in protocol.datasets}
    kinds = {cell: machines.has_gpus and STAGES[cell.stage].on_device for cell in cells}
    simulated, waited = _simulated(cells, needs, seconds, ways, kinds, bytes_of, machines)
    bound, bottleneck = _lower_bound(cells, seconds, ways, kinds, machines)
    return Makespan(
        cells=len(cells),
        seconds=simulated,
        lower_bound=bound,
        efficiency=bound / simulated if simulated else 1.0,
        bottleneck=bottleneck,
        stage_seconds=_of_stages(cells, seconds),
        data_seconds=waited,
        data_bytes=sum(bytes_of.values()),
    )


def _simulated(
    cells: Sequence[Cell],
    needs: dict[Cell, set[Cell]],
    seconds: dict[Cell, float],
    ways: dict[Cell, float],
    kinds: dict[Cell, bool],
    bytes_of: dict[str, int],
    machines: Machines,
) -> tuple[float, float]:
    """Seconds until the last cell has ended, and those that cells waited for images."""
    left = {cell: len(earlier) for cell, earlier in needs.items()}
    dependants: dict[Cell, list[Cell]] = {cell: [] for cell in cells}
    for cell, earlier in needs.items():
        for other in earlier:
            dependants[other].append(cell)
    place = {cell: number for number, cell in enumerate(cells)}
    ready: dict[bool, list[tuple[float, int, Cell]]] = {True: [], False: []}
    # The machine of each free slot, for cells on a GPU and for others.
    slots = [machine for machine in range(machines.count) for _ in range(machines.slots)]
    free = {True: list(slots) if machines.has_gpus else [], False: list(slots)}
    running: list[tuple[float, int, Cell, int]] = []
    has_read: set[tuple[int, str]] = set()
    now = driver_free = waited = 0.0

    def add(cell: Cell) -> None:
        heapq.heappush(ready[kinds[cell]], (-ways[cell], place[cell], cell))

    for cell in cells:
        if not left[cell]:
            add(cell)
    while True:
        for kind, queue in ready.items():
            while queue and free[kind]:
                cell, machine = heapq.heappop(queue)[2], free[kind].pop()
                driver_free = max(driver_free, now) + DRIVER_SECONDS
                reading = 0.0
                if STAGES[cell.stage].reads_images and (machine, cell.dataset) not in has_read:
                    # As if all machines were reading at the same time, which they do at the beginning.
                    reading = machines.count * bytes_of[cell.dataset] / SERVER_BYTES_A_SECOND
                    has_read.add((machine, cell.dataset))
                waited += reading
                end = driver_free + reading + seconds[cell]
                heapq.heappush(running, (end, place[cell], cell, machine))
        if not running:
            return now, waited
        now, _, cell, machine = heapq.heappop(running)
        free[kinds[cell]].append(machine)
        for dependant in dependants[cell]:
            left[dependant] -= 1
            if not left[dependant]:
                add(dependant)


def _lower_bound(
    cells: Sequence[Cell],
    seconds: dict[Cell, float],
    ways: dict[Cell, float],
    kinds: dict[Cell, bool],
    machines: Machines,
) -> tuple[float, str]:
    """The longest of what must pass whatever the order, and what that is."""
    slots = machines.count * machines.slots
    bounds = []
    for kind, name in ((True, "GPUs"), (False, "processors")):
        of_kind = [cell for cell in cells if kinds[cell] == kind]
        if of_kind:
            stages = _of_stages(of_kind, seconds)
            stage, most = max(stages.items(), key=lambda item: item[1])
            total = sum(stages.values())
            bounds.append((total / slots, f"the work of {slots} {name}, {most / total:.0%} of it {stage}"))
    if cells:
        first = max(cells, key=ways.__getitem__)
        bounds.append((ways[first], f"the longest chain, which begins with {first.title}"))
    return max(bounds, default=(0.0, "nothing"))


def _of_stages(cells: Sequence[Cell], seconds: dict[Cell, float]) -> dict[str, float]:
    totals: dict[str, float] = {}
    for cell in cells:
        totals[cell.stage] = totals.get(cell.stage, 0.0) + seconds[cell]
    return totals


def longest_ways(needs: Mapping[Cell, set[Cell]], seconds: Mapping[Cell, float]) -> dict[Cell, float]:
    """Seconds from the beginning of each cell to the end of the longest chain that builds on it.

    Args:
        needs: the cells that each cell waits for, all of which are among its keys.
        seconds: of each cell.
    """
    ways = dict(seconds)
    for cell in reversed([*TopologicalSorter(needs).static_order()]):
        for earlier in needs[cell]:
            ways[earlier] = max(ways[earlier], seconds[earlier] + ways[cell])
    return ways
