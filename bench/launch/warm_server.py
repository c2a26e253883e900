"""A process that has imported the large libraries, and forks a fresh child for every stage.

The project's modules are imported too, after the first stage has begun. A child uses them only where no
source file has been saved since, and imports them anew otherwise, so it never runs stale code; and no stage
sees what another one did. The server ends by itself after a minute without work.
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

from bench.machine.system import forked

IDLE_SECONDS = 60.0
# It imports all that stages have in common.
PROJECT = "bench.launch.run_stage"
# What a client sends for a signal that it has received.
SIGNALS = {b"I": signal.SIGINT, b"T": signal.SIGTERM}
# What the stages import, also the modules that a package imports only when it needs them.
LIBRARIES = (
    "torch",
    "torchvision.models.resnet",
    "sklearn.metrics",
    "scipy.stats",
    "scipy.optimize",
    "pandas",
    "pydantic",
    "ruamel.yaml.mergevalue",
    "rich.progress",
    "safetensors.torch",
    "PIL.Image",
    "jinja2",
    "altair",
    "vl_convert",
)


def _import_libraries() -> None:
    # Without the first one no stage can run, and a server that had failed to import it would fail them all.
    importlib.import_module(LIBRARIES[0])
    for module in LIBRARIES[1:]:
        # Another version of a library may have no such module; then the stages import what it has.
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    if "altair" in sys.modules:
        _use_once()
    # The garbage collector in a child would visit, and so copy, all objects that the libraries have made.
    gc.collect()
    gc.freeze()


def _use_once() -> None:
    """Make a small model, table and chart: the libraries import private modules at their first use."""
    import altair
    import pandas
    from pydantic import create_model

    create_model("First", number=(int, 0)).model_json_schema()
    table = pandas.DataFrame({"number": [0]})
    table.to_csv()
    table.to_dict("records")
    altair.Chart(table).mark_point().encode(x="number").to_dict()


def serve(address: Path, idle_seconds: float = IDLE_SECONDS) -> None:
    """Import the libraries, then fork a child for every request until none has come for a while.

    Args:
        address: of the Unix socket on which to listen.
        idle_seconds: time without a request or a running child after which to end.
    """
    # The socket comes first: clients that come during the imports wait, instead of starting another server.
    address.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(address))
    listener.listen()
    try:
        _import_libraries()
    except BaseException:
        # Its clients see the connection close, and run their stages themselves, with the message.
        address.unlink(missing_ok=True)
        raise
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    # Inherited by the children: a server that was started in the background would otherwise ignore Ctrl-C.
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
                        _import_project()
                        children[child] = connection
                        selector.register(connection, selectors.EVENT_READ, child)
                elif key.fileobj == wake_read:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake_read, 4096)
                else:
                    _pass_signal_on(key.data, key.fileobj)  # type: ignore[arg-type]
            for child in _ended(children, selector):
                children.pop(child).close()


def _fork(connection: socket.socket, listener: socket.socket) -> int | None:
    streams: list[int] = []
    try:
        size, streams, _, _ = socket.recv_fds(connection, 8, 3)
        payload, length = b"", int.from_bytes(size)
        while len(payload) < length:
            part = connection.recv(length - len(payload))  # a byte after that is for `_pass_signal_on`
            if not part:
                raise ConnectionError("the client went away")
            payload += part
        request = json.loads(payload)
    except (OSError, ValueError):
        for stream in streams:
            os.close(stream)
        connection.close()
        return None
    # Python loses signals that arrive during a fork, so Ctrl-C is held back until the child can handle it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

    def run_stage() -> int:
        os.setpgid(0, 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        listener.close()
        return _run_stage_here(request, streams)

    child = forked(run_stage)
    # In both parent and child, since either may run first: the group must exist when a signal is sent to it.
    with contextlib.suppress(OSError):
        os.setpgid(child, child)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    for stream in streams:
        os.close(stream)
    return child


def _run_stage_here(request: dict, streams: list[int]) -> int:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for stream, target in zip(streams, (0, 1, 2), strict=True):
        os.dup2(stream, target)
        os.close(stream)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    has_same_path = sys.path == request["path"]
    sys.path[:] = request["path"]
    importlib.invalidate_caches()
    sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]
    sys.argv = ["bench.stage", *request["arguments"]]
    if not (has_same_path and _project_is_current()):
        for module in [name for name in sys.modules if name.partition(".")[0] in ("bench", "imssl")]:
            del sys.modules[module]
    try:
        # Before anything of the project is imported: see there.
        from bench.protocol.source_files.at_start import sources_at_start

        sources_at_start()
        function = getattr(importlib.import_module(request["module"]), request["function"])
        return function(request["arguments"])
    except Exception:
        import traceback

        traceback.print_exc()
        return 1


def _import_project() -> None:
    """Import what every stage imports, which takes a stage as long as all else that it does, once."""
    if PROJECT in sys.modules:
        return
    try:
        from bench.protocol.source_files.at_start import sources_at_start

        sources_at_start()  # before the other imports, see there
        importlib.import_module(PROJECT)
    except Exception:  # a mistake in a source file: the stages say so themselves
        sys.modules.pop(PROJECT, None)
    gc.freeze()


def _project_is_current() -> bool:
    if PROJECT not in sys.modules:
        return False
    from bench.protocol.source_files.at_start import are_as_at_start

    return are_as_at_start()


def _pass_signal_on(child: int, connection: socket.socket) -> None:
    """Interrupt a child whose client sends an I, stop it at a T, and kill one whose client has gone."""
    try:
        received = connection.recv(1)
    except ConnectionError:
        received = b""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, SIGNALS.get(received, signal.SIGKILL))


def _ended(children: dict[int, socket.socket], selector: selectors.BaseSelector) -> list[int]:
    """The children that have ended; their clients are sent the exit status."""
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
