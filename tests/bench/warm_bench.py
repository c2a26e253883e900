"""Runs ``bench`` many times from one process that has torch already: requests in, exit statuses out.

Each request is a line of JSON with ``arguments``, ``out`` and ``err`` (files), and optionally ``rules``
(names of the checks to keep), ``values`` (module attributes to set), ``interrupt`` (a function that raises
KeyboardInterrupt) and ``stage`` (to run a stage of the pipeline). Every run, and every child in which a
method file is checked, is a fork of this process.
"""

import contextlib
import json
import os
import signal
import sys
import tempfile
from importlib import import_module

import bench.forecast.of_method
import bench.methods.changes
import bench.methods.listing  # noqa: F401 (imported once here, and not in every fork)
from bench.cli import main
from bench.conformance import child, parent, trial
from bench.conformance.rules import all_rules


@contextlib.contextmanager
def forked(request, content):
    """As bench.conformance.parent.started, without starting a Python."""
    reading, writing = os.pipe()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as output:
        pid = os.fork()
        if pid == 0:
            os.setsid()
            os.chdir(folder)
            for stream in (1, 2):
                os.dup2(output.fileno(), stream)
            request = child.Request.from_json(request.as_json())
            try:
                child.check_file(
                    request, content, lambda message: os.write(writing, json.dumps(message).encode() + b"\n")
                )
            finally:
                os._exit(1)
        os.close(writing)
        try:
            yield parent.Child(pid, reading, output)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(reading)


def interrupted(*_, **__):
    raise KeyboardInterrupt


def place(name):
    """The module and attribute of a dotted name."""
    module, _, attribute = name.rpartition(".")
    return import_module(module), attribute


def serve(request):
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    if "rules" in request:
        all_rules.RULES = tuple(rule for rule in all_rules.RULES if rule.name in request["rules"])
    for name, value in request.get("values", {}).items():
        setattr(*place(name), value)
    if "interrupt" in request:
        setattr(*place(request["interrupt"]), interrupted)
    if request.get("stage"):
        from bench.launch.run_stage import run_stage

        return run_stage(request["arguments"])
    sys.argv = ["bench", *request["arguments"]]
    try:
        main()
    except SystemExit as ended:
        return ended.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    parent.started = forked
    trial.warm_up()
    trial.warm_up = lambda: None  # once is enough for all forks
    for line in sys.stdin:
        worker = os.fork()
        if worker == 0:
            status = 99
            try:
                status = serve(json.loads(line))
            finally:
                os._exit(status)
        print(os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]), flush=True)
