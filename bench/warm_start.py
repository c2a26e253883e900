"""A process that has imported the heavy libraries and forks a fresh child for every stage.

It holds nothing of the project: the project's modules are imported in the child, so a child never runs stale
code, and no stage sees what another one did. It ends by itself after a minute without work.

The client sends its arguments, folder, environment and standard streams over a Unix socket that only its
user can open; the child answers with its exit status. Ctrl-C is passed on; a client that disappears takes
its child with it.
"""

import contextlib
import fcntl
import gc
import hashlib
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IDLE_SECONDS = 60.0
START_SECONDS = 120.0
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
# Libraries read these when they are imported, so a server serves only clients that agree on them.
READ_AT_IMPORT = (
    "OMP_",
    "OPENBLAS_",
    "MKL_",
    "KMP_",
    "TORCH",
    "PYTORCH",
    "CUDA",
    "LD_",
    "LC_",
    "LANG",
    "PYTHON",
)
# Longer addresses of Unix sockets are refused by the system.
ADDRESS_BYTES = 100


def run_warm(arguments: list[str]) -> int | None:
    """Run a stage in a warm child and return its exit status; None where no server can be had."""
    try:
        address = _address()
        connection = _connect(address) or _start(address)
    except OSError:
        return None
    if connection is None:
        return None
    with connection:
        request = {
            "arguments": arguments,
            "folder": str(Path.cwd()),
            "environment": dict(os.environ),
            "path": sys.path,
        }
        payload = json.dumps(request).encode()
        try:
            socket.send_fds(connection, [len(payload).to_bytes(8)], [0, 1, 2])
            connection.sendall(payload)
        except OSError:
            return None
        return _wait_for_status(connection)


def _wait_for_status(connection: socket.socket) -> int | None:
    interrupted = False
    while True:
        try:
            answer = connection.recv(16)
        except KeyboardInterrupt:
            interrupted = True
            with contextlib.suppress(OSError):
                connection.sendall(b"I")
            continue
        except ConnectionResetError:
            # The server ended with our request unread: no stage has begun.
            return 130 if interrupted else None
        # A server that was killed cannot answer; 137 is what a shell says of SIGKILL.
        return int(answer.decode()) if answer else 137


def _address() -> Path:
    folder = Path(tempfile.gettempdir()) / f"imssl-bench-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    owned = folder.lstat()
    if owned.st_uid != os.getuid() or owned.st_mode & 0o077:
        raise PermissionError(f"{folder} is open to others")
    settings = sorted((k, v) for k, v in os.environ.items() if k.startswith(READ_AT_IMPORT))
    this = Path(__file__).resolve()
    # Containers that share a temporary folder see other files under the same names.
    mounts = str(Path("/proc/self/ns/mnt").readlink())
    code = this.read_text(encoding="utf-8")
    identity = json.dumps([sys.executable, sys.prefix, str(this), code, settings, mounts])
    address = folder / (hashlib.sha256(identity.encode()).hexdigest()[:16] + ".sock")
    if len(os.fsencode(address)) > ADDRESS_BYTES:
        raise OSError(f"{address} is too long for a socket")
    return address


def _connect(address: Path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(address))
    except OSError:
        connection.close()
        return None
    return connection


def _start(address: Path) -> socket.socket | None:
    with address.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        connection = _connect(address)
        if connection is not None:
            return connection
        server = subprocess.Popen(
            [sys.executable, "-m", "bench.warm_start", str(address)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and server.poll() is None:
            connection = _connect(address)
            if connection is not None:
                return connection
            time.sleep(0.02)
    return None


def serve(address: Path, idle_seconds: float = IDLE_SECONDS) -> None:
    """Import the heavy libraries, then fork a child per request until nothing has come for a while."""
    for module in HEAVY:
        # Another version of a library may have no such module; then the stages import what it has.
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    # A collection in a child would visit, and so copy, all that these libraries have made.
    gc.collect()
    gc.freeze()
    address.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(address))
    listener.listen()
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
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
        payload = b""
        while len(payload) < int.from_bytes(size):
            part = connection.recv(65536)
            if not part:
                raise ConnectionError("the client went away")
            payload += part
        request = json.loads(payload)
    except (OSError, ValueError):
        for stream in streams:
            os.close(stream)
        connection.close()
        return None
    child = os.fork()
    if child:
        for stream in streams:
            os.close(stream)
        return child
    status = 1
    try:
        listener.close()
        status = _be_the_stage(request, streams)
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _be_the_stage(request: dict, streams: list[int]) -> int:
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
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
    from bench.run_stage import run_stage

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
