"""Hands a stage to a process that has imported the large libraries, and passes its exit status on.

The client sends its arguments, folder, environment and standard streams over a Unix socket that only its
user can open. The server forks a child that runs the stage, and answers with the child's exit status. Ctrl-C
is passed on, and a client that disappears takes its child with it. The server is `bench.launch.warm_server`.
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
from types import FrameType

from bench.machine import system
from bench.machine.stop import handling_sigterm
from imssl import operating_system

START_SECONDS = 120.0
# Libraries read variables with these prefixes when they are imported, so a server serves only clients whose
# values are the same.
READ_AT_IMPORT = (
    "IMSSL_BENCH_STORE",
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
# Set by batch systems for their jobs. A stage of one job must not run on what another one was given.
BATCH_SYSTEMS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID", "OAR_JOB_ID", "FLUX_JOB_ID")
# The system refuses longer addresses of Unix sockets.
ADDRESS_BYTES = 100


def is_wanted() -> bool:
    """Whether stages may be started warm: on Linux, outside batch systems, and unless it is switched off."""
    return (
        system.can_fork()
        and os.environ.get("IMSSL_BENCH_WARM_START", "1") != "0"
        and not any(name in os.environ for name in BATCH_SYSTEMS)
    )


def run_warm(
    arguments: list[str], module: str = "bench.launch.run_stage", function: str = "run_stage"
) -> int | None:
    """Run a stage in a warm child, and return its exit status; None if there is no server and none starts.

    Args:
        arguments: of the stage.
        module: of the suite, that holds the function to call.
        function: called with the arguments; it returns the exit status.
    """
    if not is_wanted():
        return None
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
            "module": module,
            "function": function,
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
    def pass_on(signal_number: int, frame: FrameType | None) -> None:
        # The stage saves its checkpoint and leaves; its exit status is then this process'.
        with contextlib.suppress(OSError):
            connection.sendall(b"T")

    with handling_sigterm(pass_on):
        return _status_from(connection)


def _status_from(connection: socket.socket) -> int | None:
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
            # The server ended before it read the request: no stage has begun.
            return 130 if interrupted else None
        # A server that was killed cannot answer; 137 is the status by which a shell reports SIGKILL.
        return int(answer.decode()) if answer else 137


def start_early() -> None:
    """Start a server for a run that will soon need one, so that it imports while the run is being set up."""
    if is_wanted():
        with contextlib.suppress(OSError):
            address = _address()
            connection = _connect(address) or _start(address)
            if connection is not None:
                connection.close()


def _address() -> Path:
    import tempfile  # imported late, here and below: a client whose server is ready needs few modules

    folder = Path(tempfile.gettempdir()) / f"imssl-bench-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    state = folder.lstat()
    if state.st_uid != os.getuid() or state.st_mode & 0o077:
        raise PermissionError(f"{folder} is open to others")
    variables = sorted((k, v) for k, v in os.environ.items() if k.startswith(READ_AT_IMPORT))
    module = Path(__file__).resolve()
    # A server has imported these before it can tell whether a source has been saved.
    files = (module, module.with_name("warm_server.py"), system.__file__, operating_system.__file__)
    code = [Path(file).read_text(encoding="utf-8") for file in files]
    # The real path, because a virtual environment has several names for its interpreter.
    interpreter = os.path.realpath(sys.executable)
    identity = json.dumps(
        [interpreter, sys.prefix, str(module), code, variables, *system.inherited_by_children()]
    )
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
