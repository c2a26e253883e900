"""The life of the server: when it starts, whom it serves, and when it ends."""

import array
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import bench
from bench.launch.warm_server import LIBRARIES
from tests.bench.launch.warm_start.project import runs, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="stages are warm-started on Linux only")

SLOW = "decimal_slow"


@pytest.fixture
def slow(project):
    """The project, whose server imports for a second and a half."""
    (project.folder / f"{SLOW}.py").write_text("import time; time.sleep(1.5)")
    file = project.folder / "bench" / "launch" / "warm_server.py"
    file.write_text(file.read_text().replace('LIBRARIES = ("decimal",)', f'LIBRARIES = ("{SLOW}",)'))
    return project


def test_a_server_started_early_is_the_one_that_serves(slow):
    code = "from bench.launch.warm_start import start_early; start_early()"
    environment = os.environ | {"TMPDIR": str(slow.temporary), "PYTHONPATH": str(slow.folder)}
    subprocess.run([sys.executable, "-c", code], cwd=slow.folder, env=environment, check=True)
    slow.address()  # it can be reached before it has imported anything
    assert len({slow.server() for _ in range(2)}) == 1
    slow.address()


def test_ctrl_c_while_the_server_imports_stops_the_stage(slow):
    client = slow.start("import time; time.sleep(60)")
    wait_for(lambda: list(slow.temporary.glob("*/*.sock")), "the server listens")
    time.sleep(0.3)
    client.send_signal(signal.SIGINT)
    client.communicate(timeout=600)
    assert client.returncode == 130


def test_a_client_whose_server_dies_while_it_imports_runs_the_stage_itself(slow):
    client = slow.start("import os; print(os.getppid()); status = 9")
    wait_for(lambda: list(slow.temporary.glob("*/*.sock")), "the server listens")
    time.sleep(0.3)
    subprocess.run(["pkill", "-KILL", "-f", str(slow.address())], check=True)
    output, _ = client.communicate(timeout=600)
    assert (client.returncode, output) == (9, f"{client.pid}\n")


@pytest.mark.parametrize("sent", ["nothing", "half a size", "a size", "half a request", "no json"])
def test_a_client_that_goes_away_does_no_harm(project, sent):
    server = project.server()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(project.address()))
        streams = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))]
        if sent == "half a size":
            client.sendall(b"\0\0")
        elif sent != "nothing":
            client.sendmsg([(100).to_bytes(8)], streams)
            client.sendall({"a size": b"", "half a request": b"x" * 50, "no json": b"x" * 100}[sent])
    open_files = len(list(Path(f"/proc/{server}/fd").iterdir()))
    assert project.run("import os; print(os.getppid())") == (0, f"{server}\n")
    end = time.monotonic() + 600
    while len(list(Path(f"/proc/{server}/fd").iterdir())) > open_files:  # it closes them when it has answered
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_killed_server_is_replaced(project):
    old = project.server()
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: not runs(old), "the server ends")
    assert project.address().exists()
    assert project.server() != old


def test_the_server_ends_when_nothing_comes_but_not_while_a_stage_runs(project, tmp_path):
    address = project.temporary / "idle.sock"
    program = (
        "from pathlib import Path; from bench.launch.warm_server import serve\n"
        f"serve(Path({str(address)!r}), 0.2)"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=project.folder,
        env=os.environ | {"PYTHONPATH": str(project.folder)},
    )
    wait_for(address.exists, "the server listens")
    client = (
        "import sys; from pathlib import Path; from bench.launch import warm_start\n"
        f"warm_start._address = lambda: Path({str(address)!r})\n"
        "sys.exit(warm_start.run_warm(['import time; time.sleep(1); status = 9']))"
    )
    environment = os.environ | {"PYTHONPATH": str(project.folder)}
    ended = subprocess.run([sys.executable, "-c", client], cwd=project.folder, env=environment, check=False)
    assert ended.returncode == 9
    assert server.wait(timeout=600) == 0
    assert not address.exists()


def test_a_request_that_the_server_never_read_is_run_by_the_client(project, tmp_path):
    address = project.temporary / "closing.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(address))
    listener.listen()
    client = (
        "import sys; from pathlib import Path; from bench.launch import warm_start\n"
        f"warm_start._address = lambda: Path({str(address)!r})\n"
        "print(warm_start.run_warm(['status = 9']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", client],
        cwd=project.folder,
        env=os.environ | {"PYTHONPATH": str(project.folder)},
        stdout=subprocess.PIPE,
        text=True,
    )
    connection, _ = listener.accept()
    wait_for(lambda: len(connection.recv(1, socket.MSG_PEEK)) == 1, "the request arrives")
    connection.close()
    listener.close()
    assert process.communicate(timeout=600)[0] == "None\n"


COLD = "import os, sys; print(os.getppid(), 'decimal' in sys.modules)"


def test_a_stage_runs_in_the_client_where_no_server_can_be_had(project, tmp_path):
    for environment in (
        {"IMSSL_BENCH_WARM_START": "0"},
        {"TMPDIR": str(tmp_path / ("long" * 30))},
        {"TMPDIR": str(tmp_path / "open")},
    ):
        folder = Path(environment.get("TMPDIR", tmp_path))
        folder.mkdir(exist_ok=True)
        if folder.name == "open":
            (folder / f"imssl-bench-{os.getuid()}").mkdir(mode=0o755)
        process = project.start(COLD, **environment)
        output, _ = process.communicate(timeout=600)
        assert output == f"{process.pid} False\n", environment
    assert list(project.temporary.iterdir()) == []


# Prints the modules that a stage's first model, tables and chart import after the server's imports.
FIRST_USES = """
import sys
from bench.launch.warm_server import _import_libraries
_import_libraries()
import altair, pandas, pydantic
imported = set(sys.modules)
class Settings(pydantic.BaseModel):
    widths: list[int] = [1]
Settings.model_json_schema()
table = pandas.DataFrame({"method": ["moco", "byol"], "auroc": [0.7, 0.8]})
table.to_csv(index=False)
table.to_dict("records")
altair.Chart(table).mark_bar().encode(x="method:N", y="auroc:Q", color="method").to_dict()
print(sorted(set(sys.modules) - imported))
"""


@pytest.mark.slow
def test_the_server_has_imported_what_libraries_import_at_their_first_use():
    environment = os.environ | {"PYTHONPATH": str(Path(bench.__file__).parents[1])}
    command = [sys.executable, "-c", FIRST_USES]
    assert subprocess.run(command, env=environment, capture_output=True, text=True).stdout == "[]\n"


def test_no_private_module_of_a_library_is_named():
    assert [name for name in LIBRARIES if any(part.startswith("_") for part in name.split("."))] == []
