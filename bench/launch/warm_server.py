"""A process that has imported the heavy libraries and forks a fresh child for every stage.

It holds nothing of the project: the project's modules are imported in the child, so a child never runs stale
code, and no stage sees what another one did. It ends by itself after a minute without work.
"""

import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path

IDLE_SECONDS = 60.0
# Some of these are modules that their package imports late, when it is used for the first time.
HEAVY = (
    "torch",
    "torchvision.models.resnet",
    "sklearn.metrics",
    "scipy.stats",
    "scipy.optimize",
    "pandas.core.methods.to_dict",
    "pandas.io.formats.csvs",
    "pydantic.functional_validators",
    "pydantic.json_schema",
    "pydantic.main",
    "pydantic.types",
    "pydantic.plugin._loader",
    "pydantic.plugin._schema_validator",
    "ruamel.yaml.mergevalue",
    "rich.progress",
    "dvclive",
    "dvc.data_cloud",
    "dvc.repo.experiments",
    "dvc.repo.metrics.show",
    "dvc.repo.plots",
    "dvc.scm",
    "safetensors.torch",
    "PIL.Image",
    "jinja2",
    "altair",
    "narwhals._interchange.dataframe",
    "vl_convert",
)


def _import_heavy() -> None:
    for module in HEAVY:
        # Another version of a library may have no such module; then the stages import what it has.
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    with contextlib.suppress(ImportError):
        from pydantic import create_model

        create_model("First")  # pydantic looks for its plugins when it makes its first model
    # A collection in a child would visit, and so copy, all that these libraries have made.
    gc.collect()
    gc.freeze()


def serve(address: Path, idle_seconds: float = IDLE_SECONDS) -> None:
    """Import the heavy libraries, then fork a child per request until nothing has come for a while."""
    # Clients that come while it imports wait for it, instead of starting another one.
    address.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(address))
    listener.listen()
    _import_heavy()
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    # For the children, from their first moment: one that was started in the background would ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    children: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(wake_read, selectors.EVENT_READ)
        while True:
            events = selector.select(idle_seconds)
            if not events and not children:
                address.unlink(missing_ok=True)
                return
            for key, _ in events:
                if key.fileobj is listener:
                    connection, _ = listener.accept()
                    child = _fork(connection, listener)
                    if child is not None:
                        children[child] = connection
                        selector.register(connection, selectors.EVENT_READ, child)
                elif key.fileobj == wake_read:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake_read, 4096)
                else:
                    _pass_on(key.data, key.fileobj)  # type: ignore[arg-type]
            for child in _ended(children, selector):
                children.pop(child).close()


def _fork(connection: socket.socket, listener: socket.socket) -> int | None:
    streams: list[int] = []
    try:
        size, streams, _, _ = socket.recv_fds(connection, 8, 3)
        payload, length = b"", int.from_bytes(size)
        while len(payload) < length:
            part = connection.recv(length - len(payload))  # what follows is a word for `_pass_on`
            if not part:
                raise ConnectionError("the client went away")
            payload += part
        request = json.loads(payload)
    except (OSError, ValueError):
        for stream in streams:
            os.close(stream)
        connection.close()
        return None
    # Python forgets signals that come during a fork, so Ctrl-C is held back until the child can take it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    child = os.fork()
    # In the parent and in the child, as either may be the first: a signal to the group must find it.
    with contextlib.suppress(OSError):
        os.setpgid(child, child)
    if child:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        for stream in streams:
            os.close(stream)
        return child
    status = 1
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        listener.close()
        status = _be_the_stage(request, streams)
    except KeyboardInterrupt:  # before the stage could take care of it
        status = 130
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _be_the_stage(request: dict, streams: list[int]) -> int:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for stream, target in zip(streams, (0, 1, 2), strict=True):
        os.dup2(stream, target)
        os.close(stream)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    sys.path[:] = request["path"]
    importlib.invalidate_caches()
    sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]
    sys.argv = ["bench.stage", *request["arguments"]]
    for module in [name for name in sys.modules if name.partition(".")[0] in ("bench", "imssl")]:
        del sys.modules[module]
    from bench.launch.run_stage import run_stage

    try:
        return run_stage(request["arguments"])
    except Exception:
        import traceback

        traceback.print_exc()
        return 1


def _pass_on(child: int, connection: socket.socket) -> None:
    try:
        word = connection.recv(1)
    except ConnectionError:
        word = b""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGINT if word == b"I" else signal.SIGKILL)


def _ended(children: dict[int, socket.socket], selector: selectors.BaseSelector) -> list[int]:
    ended = []
    for child, connection in children.items():
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            selector.unregister(connection)
            code = os.waitstatus_to_exitcode(status)
            with contextlib.suppress(OSError):
                connection.sendall(str(code if code >= 0 else 128 - code).encode())
            ended.append(child)
    return ended


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
