"""The process in which a method file is loaded and tried: ``python -m bench.conformance.child FD``.

It reads a request from standard input and tells what it does in lines of JSON on the file descriptor, each
before it begins, so that the parent knows where a file that hangs or crashes did so.
"""

import json
import os
import resource
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imssl.errors import UserError

if TYPE_CHECKING:
    from bench.conformance.trial import Trial
    from imssl.method import MethodSettings

# A file may print, or fill a disk, for ever; nothing that the checks write comes near this.
LARGEST_OUTPUT_BYTES = 2**30
# The parent stops a child long before; this is for one whose parent was killed.
CPU_SECONDS = 1800

Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class DatasetOfRun:
    """A data set of params.yaml, as far as a method is told of it.

    Attributes:
        name: its id.
        images: of the training split.
        channels: 1 or 3.
        size: side of the images in pixels.
    """

    name: str
    images: int
    channels: int
    size: int


@dataclass(frozen=True)
class Request:
    """What the parent asks for.

    Attributes:
        path: of the method file, as the user gave it.
        rows: hyper-parameters as given, by row of params.yaml.
        datasets: that every row must accept.
        encoder: section of params.yaml that goes with them; None where there are none.
        batch_size: of the run that goes with them.
        epochs: likewise.
        checks: False to load the file and its settings only.
    """

    path: str
    rows: dict[str, dict[str, Any]]
    datasets: tuple[DatasetOfRun, ...] = ()
    encoder: dict[str, Any] | None = None
    batch_size: int = 0
    epochs: int = 0
    checks: bool = True

    def as_json(self) -> str:
        """For the child's standard input."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Request":
        """The request that :meth:`as_json` wrote."""
        content = json.loads(text)
        content["datasets"] = tuple(DatasetOfRun(**dataset) for dataset in content["datasets"])
        return cls(**content)


def serve(request: Request, content: bytes, tell: Tell) -> None:
    """Load the file, check its settings, and try every rule on it."""
    tell({"doing": "start"})
    from bench.conformance.loading import load_class, load_settings, written
    from bench.conformance.rules.all_rules import RULES, try_rule
    from bench.conformance.source import MethodSource
    from bench.conformance.surroundings import surroundings
    from bench.conformance.trial import Trial, warm_up
    from bench.conformance.watch import Watch
    from imssl.settings.encoder import EncoderSettings

    source = MethodSource(Path(request.path), content, content.decode("utf-8"))
    warm_up()
    watch, before = Watch(request.path), surroundings()
    tell({"doing": "load"})
    try:
        with watch.watching():
            method = load_class(source)
            settings = {row: load_settings(method, row, given) for row, given in request.rows.items()}
        told = {row: written(values) for row, values in settings.items()}
        tell({"loaded": method.__name__, "settings": told})
        trial = Trial(source, method, next(iter(settings.values())), watch, before)
        if request.encoder is not None:
            trial.timed_encoder = EncoderSettings.model_validate(request.encoder)
        _refuse_unfit(trial, settings, request)
    except UserError as error:
        tell({"refused": str(error)})
        return
    if request.checks:
        unmet: set[str] = set()
        for rule in RULES:
            tell({"doing": rule.name})
            check = try_rule(rule, trial, unmet)
            tell({"check": asdict(check)})
    tell({"done": trial.ratios})


def _refuse_unfit(trial: "Trial", settings: "dict[str, MethodSettings]", request: Request) -> None:
    """Build the method of every row for every data set of params.yaml.

    Raises:
        UserError: what the method says against it, or where it fails.
    """
    from bench.conformance.loading import at_fault
    from imssl.encoder import new_encoder
    from imssl.method import TrainingSet
    from imssl.seeds import initialising
    from imssl.settings.encoder import EncoderSettings

    for row, values in settings.items():
        for data in request.datasets:
            encoder = new_encoder(EncoderSettings.model_validate(request.encoder), data.channels, seed=0)
            steps = request.epochs * (data.images // request.batch_size)
            training_set = TrainingSet(data.images, data.channels, data.size, request.batch_size, steps)
            try:
                with trial.watch.watching(), initialising(0, "method"):
                    trial.method(encoder, values, training_set)
            except (Exception, SystemExit) as error:
                fault = at_fault(error, trial.source)
                raise UserError(f"{row} cannot be run on data set {data.name}:\n{fault}") from None


def main() -> None:
    """Serve the request on standard input."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_OUTPUT_BYTES, LARGEST_OUTPUT_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    channel = int(sys.argv[1])
    size = int.from_bytes(sys.stdin.buffer.read(8))
    if not size:  # the parent was stopped before it could ask
        return
    request = Request.from_json(sys.stdin.buffer.read(size).decode())
    content = sys.stdin.buffer.read()

    def tell(message: dict[str, Any]) -> None:
        os.write(channel, json.dumps(message).encode() + b"\n")

    serve(request, content, tell)


if __name__ == "__main__":
    main()
