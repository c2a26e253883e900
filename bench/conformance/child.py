"""The process in which a method file is loaded and checked: ``python -m bench.conformance.child FD``.

It reads a request from standard input, and writes a line of JSON to the file descriptor before each thing it
does, so that the parent knows at which of them a file hung or crashed.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from bench.machine.system import limit
from imssl.errors import UserError

if TYPE_CHECKING:
    from bench.conformance.trial import Trial
    from imssl.method import MethodSettings

# For a method file that prints without end; the checks themselves write far less.
LARGEST_OUTPUT_BYTES = 2**30
# For a child whose parent was killed; a living parent stops it long before.
CPU_SECONDS = 1800

# What a check can afford: the largest side of the images, and the pixels in each of its many steps; and the
# pixels of the one step that has the run's own size.
LARGEST_SIZE, PIXELS_A_STEP, PIXELS_ONCE = 64, 2**16, 2**22

Send = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class DatasetShape:
    """What a method learns of a data set of params.yaml: how many images, and of which shape.

    Attributes:
        name: its id.
        images: number of training images; None where the data set is not prepared.
        channels: 1 or 3.
        size: side of the images in pixels.
        steps: of a whole pretraining on it; None where the data set is not prepared.
        rows: hyper-parameters that differ on it, by row of params.yaml.
    """

    name: str
    images: int | None
    channels: int
    size: int
    steps: int | None
    rows: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Request:
    """What the parent asks for.

    Attributes:
        path: the method file, as the user gave it.
        rows: hyper-parameters as given, by row of params.yaml.
        datasets: data sets that the method must accept with the hyper-parameters of every row.
        encoder: section ``encoder`` of params.yaml; None if there are no data sets.
        batch_size: of pretraining; unused if there are no data sets.
        checks: False to load the file and its settings only.
        must_fit: whether the method must accept every data set, as its rows are to be entered.
        nonce: stands in every answer, so that what else is written to the parent's pipe is not taken for one.
    """

    path: str
    rows: dict[str, dict[str, Any]]
    datasets: tuple[DatasetShape, ...] = ()
    encoder: dict[str, Any] | None = None
    batch_size: int = 0
    checks: bool = True
    must_fit: bool = True
    nonce: str = ""

    def as_json(self) -> str:
        """The request as text, for the child's standard input."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Request":
        """The request that :meth:`as_json` wrote."""
        content = json.loads(text)
        content["datasets"] = tuple(DatasetShape(**dataset) for dataset in content["datasets"])
        return cls(**content)


def check_file(request: Request, content: bytes, send: Send) -> None:
    """Load a method file, check its settings, and check it against every rule.

    Args:
        request: what is to be checked.
        content: of the method file.
        send: takes each message to the parent.
    """
    nonce = request.nonce

    def tell(message: dict[str, Any]) -> None:
        send(message | {"nonce": nonce})

    tell({"doing": "start"})
    from bench.conformance.loading import as_row, load_class, load_settings, place_of
    from bench.conformance.method_source import MethodSource
    from bench.conformance.rules.all_rules import RULES, check_rule
    from bench.conformance.surroundings.guard import ARGUMENTS, module_name
    from bench.conformance.surroundings.overheard import overheard
    from bench.conformance.surroundings.state import surroundings
    from bench.conformance.surroundings.watch import Watch
    from bench.conformance.trial import Trial, warm_up

    source = MethodSource(Path(request.path), content, content.decode("utf-8-sig"))
    sys.argv, sys.orig_argv = list(ARGUMENTS), list(ARGUMENTS)
    warm_up()
    with overheard():
        watch, before = Watch(place_of(source)), surroundings(module_name(source.path.name))
        tell({"doing": "load"})
        try:
            with watch.watching():
                method = load_class(source)
                settings = {row: load_settings(method, row, given) for row, given in request.rows.items()}
                on_datasets = {
                    (row, data.name): load_settings(method, f"{row} on {data.name}", given | data.rows[row])
                    for row, given in request.rows.items()
                    for data in request.datasets
                    if row in data.rows
                }
            rows = {row: as_row(values) for row, values in settings.items()}
            tell({"loaded": method.__name__, "settings": rows})
            trial = Trial(source, method, next(iter(settings.values())), watch, before)
            _fit_to_run(trial, request)
            if request.must_fit:
                _refuse_unfit(trial, settings, on_datasets, request)
        except UserError as error:
            tell({"refused": str(error)})
            return
        if request.checks:
            for rule in RULES:
                tell({"doing": rule.name})
                tell({"check": asdict(check_rule(rule, trial))})
    tell({"done": trial.ratios})


def _fit_to_run(trial: "Trial", request: Request) -> None:
    """Let a trial have the sizes of params.yaml, as far as a check can afford them."""
    from bench.conformance.trial import Scale, Situation
    from imssl.settings.encoder import AnyEncoder

    if request.encoder is not None:
        trial.timed_encoder = TypeAdapter(AnyEncoder).validate_python(request.encoder)
    if not request.datasets:
        return
    usual = Scale()
    images = min((data.images for data in request.datasets if data.images), default=usual.images)
    size = min(LARGEST_SIZE, *(data.size for data in request.datasets))
    affordable = max(usual.batch_size, PIXELS_A_STEP // size**2)
    trial.run_scale = Scale(images, size, min(request.batch_size, affordable))
    trial.run_situations = tuple(
        Situation(
            Scale(
                data.images or usual.images,
                data.size,
                min(request.batch_size, max(2, PIXELS_ONCE // data.size**2)),
            ),
            data.channels,
            data.steps or 1,
        )
        for data in {(data.channels, data.size): data for data in request.datasets}.values()
    )


def _refuse_unfit(
    trial: "Trial",
    settings: "dict[str, MethodSettings]",
    on_datasets: "dict[tuple[str, str], MethodSettings]",
    request: Request,
) -> None:
    """Build the method of every row for every data set of params.yaml, with what differs on it.

    Raises:
        UserError: the method refuses the data set, or fails; the message gives its reason or the line.
    """
    from bench.conformance.loading import at_fault
    from bench.conformance.trial import Scale, Situation, training_set
    from imssl.encoder import new_encoder
    from imssl.torch_seeds import initialising

    for row, values in settings.items():
        for data in request.datasets:
            if data.images is None or data.steps is None:
                continue
            encoder = new_encoder(trial.timed_encoder, data.channels, seed=0)
            scale = Scale(data.images, data.size, request.batch_size)
            images = training_set(Situation(scale, data.channels, data.steps))
            try:
                with trial.watch.watching(), initialising(0, "method"):
                    trial.method(encoder, on_datasets.get((row, data.name), values), images)
            except (Exception, SystemExit) as error:
                fault = at_fault(error, trial.source)
                raise UserError(f"{row} cannot be run on data set {data.name}:\n{fault}") from None


def main() -> None:
    """Check the file that the request on standard input asks for."""
    limit(LARGEST_OUTPUT_BYTES, CPU_SECONDS)
    channel = int(sys.argv[1])
    size = int.from_bytes(sys.stdin.buffer.read(8))
    if not size:  # the parent ended before it could write a request
        return
    request = Request.from_json(sys.stdin.buffer.read(size).decode())
    content = sys.stdin.buffer.read()

    def send(message: dict[str, Any]) -> None:
        os.write(channel, json.dumps(message).encode() + b"\n")

    check_file(request, content, send)


if __name__ == "__main__":
    main()
