"""Hand a stage to a process that has imported the heavy libraries, and pass its exit status on.

The client sends its arguments, folder, environment and standard streams over a Unix socket that only its
user can open; the child that the server forks for them answers with its exit status. Ctrl-C is passed on; a
client that disappears takes its child with it. `bench.launch.warm_server` is the other side.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import sys
import time
from pathlib import Path

START_SECONDS = 120.0
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


def start_early() -> None:
    """Start a server for a run that will need one in a moment; it imports while the run is being set up."""
    if sys.platform == "linux" and os.environ.get("IMSSL_BENCH_WARM_START", "1") != "0":
        with contextlib.suppress(OSError):
            address = _address()
            connection = _connect(address) or _start(address)
            if connection is not None:
                connection.close()


def _address() -> Path:
    import tempfile  # here and below: a client that finds a server waiting needs to import little

    folder = Path(tempfile.gettempdir()) / f"imssl-bench-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    owned = folder.lstat()
    if owned.st_uid != os.getuid() or owned.st_mode & 0o077:
        raise PermissionError(f"{folder} is open to others")
    settings = sorted((k, v) for k, v in os.environ.items() if k.startswith(READ_AT_IMPORT))
    this = Path(__file__).resolve()
    code = [file.read_text(encoding="utf-8") for file in (this, this.with_name("warm_server.py"))]
    # Containers that share a temporary folder see other files under the same names.
    mounts = str(Path("/proc/self/ns/mnt").readlink())
    # The real path, as a virtual environment has several names for its interpreter.
    identity = json.dumps([os.path.realpath(sys.executable), sys.prefix, str(this), code, settings, mounts])
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
    import subprocess

    with address.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        connection = _connect(address)
        if connection is not None:
            return connection
        server = subprocess.Popen(
            [sys.executable, "-m", "bench.launch.warm_server", str(address)],
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
