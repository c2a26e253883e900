"""What the suite has to know of a method before it runs: its settings in full, and whether it trains.

Only the class can say, and a method's file is code that may have been written by anybody. So the file is
imported in a process that ends after its answer, and the answer is kept under a hash of the file, of what it
imports and of its row in params.yaml. Of the stages, pretraining alone imports a method's file itself.
"""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.cells.files import STORE
from bench.cells.fingerprints import digest, method_fingerprint
from bench.protocol.protocol import Protocol, values
from bench.protocol.registry import different_settings, load_method, method_file, shown
from imssl.durable import write_text
from imssl.errors import UserError
from imssl.operating_system import takes_portable_ways
from imssl.regular_file import checksum

FOLDER = STORE / "methods"


@dataclass(frozen=True)
class MethodFacts:
    """What a row of the protocol is.

    Attributes:
        settings: hyper-parameters, defaults filled in.
        defaults: those of the class.
        pretrains: whether it trains at all.
        is_reference: whether the others are measured against it, and it is out of ranks itself.
        fills_batch_norm: whether, without training, its batch norm gets the training images' statistics.
        from_scratch: whether its encoder is random even where the protocol names weights.
        pretrained_elsewhere: whether it evaluates weights that somebody else has trained.
        on_datasets: hyper-parameters in full, by data set, where some are written for one alone.
        optimisation: values of the optimiser: the protocol's, with what the row says.
        departures: what it uses that not every method does, such as patient ids; see `imssl.departures`.
        takes_clean_pass: whether it gets a pass over the images as they are after each epoch.
    """

    settings: dict[str, Any]
    defaults: dict[str, Any]
    pretrains: bool
    is_reference: bool
    fills_batch_norm: bool
    from_scratch: bool
    pretrained_elsewhere: bool
    on_datasets: dict[str, dict[str, Any]]
    optimisation: dict[str, Any]
    departures: list[str]
    takes_clean_pass: bool

    @property
    def has_reuse(self) -> bool:
        """Whether CKA before and after fine-tuning says how far the features are reused.

        Of an encoder as initialised it says how far the statistics of batch norm were from those of the
        images: CKA is .3 to .5 where these alone have changed.
        """
        return self.pretrains or self.pretrained_elsewhere or self.fills_batch_norm

    def settings_on(self, dataset: str) -> dict[str, Any]:
        """Hyper-parameters on a data set."""
        return self.on_datasets.get(dataset, self.settings)


_known: dict[str, MethodFacts] = {}


def method_facts(protocol: Protocol, methods: Sequence[str] | None = None) -> dict[str, MethodFacts]:
    """Facts of rows of the protocol, by id.

    Args:
        protocol: with the rows in it.
        methods: whose facts are wanted; all where they are not given.

    Raises:
        UserError: a row has no file, or its file or hyper-parameters are not right.
    """
    keys = {method: _key(method, protocol) for method in (protocol.methods if methods is None else methods)}
    # Rows that are alike are asked about once.
    unknown = {key: method for method, key in keys.items() if key not in _known and not _read(key)}
    if unknown:
        for method, facts in _asked(list(unknown.values()), protocol).items():
            _known[keys[method]] = facts
            if STORE.is_dir():  # a command that only looks leaves nothing behind in a new project
                # In the order in which the file declares its settings, as when they were asked for just now.
                write_text(_file(keys[method]), json.dumps(asdict(facts), allow_nan=False))
    return {method: _known[key] for method, key in keys.items()}


def facts_of(method: str, protocol: Protocol) -> MethodFacts:
    """Facts of one row.

    Raises:
        UserError: its file or hyper-parameters are not right.
    """
    return method_facts(protocol, [method])[method]


def reference_methods(protocol: Protocol) -> list[str]:
    """Rows that the others are measured against: shown beside them, and out of ranks and corrected tests.

    A row whose file or hyper-parameters are not right is not among them.
    """
    facts: dict[str, MethodFacts] = {}
    try:
        facts = method_facts(protocol)
    except UserError:  # one of them; which of the others are right is seen one by one
        for method in protocol.methods:
            with contextlib.suppress(UserError):
                facts |= method_facts(protocol, [method])
    return [method for method, of_method in facts.items() if of_method.is_reference]


def untrained_methods(protocol: Protocol) -> list[str]:
    """Those of the references whose weights nobody has trained, which pretraining is measured against."""
    facts = {name: facts_of(name, protocol) for name in reference_methods(protocol)}
    return [name for name, fact in facts.items() if not (fact.pretrains or fact.pretrained_elsewhere)]


def _key(method: str, protocol: Protocol) -> str:
    file = method_file(method, protocol)
    content = [
        file.name,
        # Whatever its lines are: also one that changes no number can keep a file from being imported.
        checksum(file),
        digest(method_fingerprint(method, protocol)),
        protocol.methods[method],
        different_settings(method, protocol),
        values(protocol.pretrain.optimisation),
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _file(key: str) -> Path:
    return FOLDER / f"{key}.json"


def _read(key: str) -> bool:
    """Look for facts that an earlier process has kept."""
    try:
        _known[key] = MethodFacts(**json.loads(_file(key).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return False
    return True


def _asked(methods: Sequence[str], protocol: Protocol) -> dict[str, MethodFacts]:
    """Facts from a child process for each method: a fork where torch is here to be shared."""
    if takes_portable_ways():
        return {method: _asked_of_new_process([method], protocol)[method] for method in methods}
    if "torch" in sys.modules:
        return _asked_of_forks(methods, protocol)
    return _asked_of_new_process(methods, protocol)


def _asked_of_new_process(methods: Sequence[str], protocol: Protocol) -> dict[str, MethodFacts]:
    """Facts from a process that is started anew; it forks for each method, or is asked of one only."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        request = {"methods": methods, "protocol": protocol.model_dump_json(), "answer": str(answer)}
        # Its folder on the path first, so that it imports the suite that this process has imported.
        path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
        ended = subprocess.run(
            [sys.executable, "-m", "bench.cells.method_facts"],
            input=json.dumps(request),
            env=os.environ | {"PYTHONPATH": path.rstrip(os.pathsep)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if not answer.is_file():
            raise UserError(f"the methods of params.yaml could not be read:\n{ended.stderr.strip()}")
        answers = json.loads(answer.read_text(encoding="utf-8"))
    if "error" in answers:
        raise UserError(answers["error"])
    return {method: MethodFacts(**facts) for method, facts in answers.items()}


def _asked_of_forks(methods: Sequence[str], protocol: Protocol) -> dict[str, MethodFacts]:
    """Facts from a fork for each method; they share what every method's file imports."""
    import imssl.method  # noqa: F401 (torch and torchvision: once here, and not in every fork)

    return {method: _asked_of_fork(method, protocol) for method in methods}


def _asked_of_fork(method: str, protocol: Protocol) -> MethodFacts:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            # What a method's file prints is no part of what the parent prints, such as a JSON document.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            with open(writing, "w", encoding="utf-8") as stream:
                json.dump(_answer_of_class(method, protocol), stream)
            status = 0
        finally:
            os._exit(status)  # nothing of the parent's is run or written twice
    os.close(writing)
    with open(reading, encoding="utf-8") as stream:
        text = stream.read()
    os.waitpid(child, 0)
    try:
        answers = json.loads(text)
    except ValueError:
        raise UserError(f"{_name(method, protocol)}: the process that imported it ended") from None
    if "error" in answers:
        raise UserError(answers["error"])
    return MethodFacts(**answers)


def _answer_of_class(method: str, protocol: Protocol) -> dict[str, Any]:
    """Facts as JSON, or why there are none."""
    # With torch, in the child only.
    from imssl.departures import departures
    from imssl.method import takes_clean_pass

    try:
        registered = load_method(method, protocol)
        on_datasets = {
            dataset: values(load_method(method, protocol, dataset).settings)
            for dataset in different_settings(method, protocol)
        }
        facts = MethodFacts(
            settings=values(registered.settings),
            defaults=values(type(registered.settings)()),
            pretrains=bool(registered.method.pretrains),
            is_reference=bool(registered.method.is_reference),
            fills_batch_norm=bool(registered.method.fills_batch_norm),
            from_scratch=bool(registered.method.from_scratch),
            pretrained_elsewhere=bool(registered.method.pretrained_elsewhere),
            on_datasets=on_datasets,
            optimisation=values(registered.optimisation),
            departures=departures(registered.method),
            takes_clean_pass=takes_clean_pass(registered.method),
        )
    except UserError as error:
        return {"error": str(error)}
    except BaseException as error:
        kind = type(error).__name__
        return {"error": f"{_name(method, protocol)} cannot be imported: {kind}: {error}"}
    return asdict(facts)


def _name(method: str, protocol: Protocol) -> str:
    return f"{shown(method_file(method, protocol))} (methods.{method} of params.yaml)"


def _main() -> None:
    request = json.load(sys.stdin)
    protocol = Protocol.model_validate_json(request["protocol"])
    answers: dict[str, Any]
    try:
        if takes_portable_ways():
            (name,) = request["methods"]
            answer = _answer_of_class(name, protocol)
            answers = answer if "error" in answer else {name: answer}
        else:
            facts = _asked_of_forks(request["methods"], protocol)
            answers = {name: asdict(of_method) for name, of_method in facts.items()}
    except UserError as error:
        answers = {"error": str(error)}
    Path(request["answer"]).write_text(json.dumps(answers), encoding="utf-8")


if __name__ == "__main__":
    _main()
