import array
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import bench

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="stages are warm-started on Linux only")

# A stage that does what it is told, instead of training something.
RUN_STAGE = """
def run_stage(arguments):
    scope = {}
    try:
        exec(arguments[0], scope)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        return 130
    return scope.get("status", 0)
"""


@dataclass
class Project:
    """A project with a warm start of its own: a server of its own that imports nothing heavy."""

    folder: Path
    temporary: Path
    servers: set[int] = field(default_factory=set)

    def start(self, code: str, cwd: Path | None = None, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "bench.stage", code],
            cwd=cwd or self.folder,
            env=os.environ | {"TMPDIR": str(self.temporary), "PYTHONPATH": str(self.folder)} | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, code: str, stdin: str = "", **environment: str) -> tuple[int, str]:
        process = self.start(code, **environment)
        output, _ = process.communicate(stdin, timeout=60)
        return process.returncode, output

    def server(self) -> int:
        """The process that forks the stages; it is started if there is none."""
        status, output = self.run("import os; print(os.getppid())")
        assert status == 0, output
        self.servers.add(int(output))
        return int(output)

    def address(self) -> Path:
        (address,) = self.temporary.glob("*/*.sock")
        return address


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    (folder / "bench").mkdir()
    for name in ("__init__.py", "stage.py", "warm_start.py"):
        shutil.copy(Path(bench.__file__).parent / name, folder / "bench" / name)
    (folder / "bench" / "run_stage.py").write_text(RUN_STAGE)
    file = folder / "bench" / "warm_start.py"
    text, count = re.subn(r"HEAVY = \(.*?\n\)", 'HEAVY = ("decimal",)', file.read_text(), flags=re.DOTALL)
    assert count == 1
    file.write_text(text)
    return folder


@pytest.fixture
def project(source: Path, tmp_path: Path) -> Iterator[Project]:
    shutil.copytree(source, tmp_path / "project")
    # Addresses of sockets must be short, and pytest's folders are not.
    temporary = Path(tempfile.mkdtemp(prefix="ib", dir="/tmp"))
    project = Project(tmp_path / "project", temporary)
    yield project
    if list(temporary.glob("*/*.sock")):
        project.server()
    for server in project.servers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(server, signal.SIGKILL)
    shutil.rmtree(temporary)


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.01)


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


STATUSES = {
    "status = 0": 0,
    "status = 1": 1,
    "status = 2": 2,
    "raise ValueError('broken')": 1,
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)": 137,
    "import os, signal; os.kill(os.getpid(), signal.SIGTERM)": 143,
}


def test_the_exit_status_of_the_stage_is_that_of_the_client(project):
    for code, status in STATUSES.items():
        assert project.run(code)[0] == status, code
    assert "ValueError: broken" in project.run("raise ValueError('broken')")[1]


def test_all_stages_are_children_of_one_server_with_the_libraries_imported(project):
    code = "import os, sys; print(os.getpid(), os.getppid(), 'decimal' in sys.modules, sys.argv[0])"
    outputs = [project.run(code)[1].split() for _ in range(3)]
    assert len({pid for pid, *_ in outputs}) == 3
    assert {tuple(rest) for _, *rest in outputs} == {(str(project.server()), "True", "bench.stage")}


def test_output_arrives_in_order_and_input_is_passed_on(project):
    code = (
        "import sys, os\n"
        "for i in range(200):\n"
        "    print(i, flush=True)\n"
        "    print(-i, file=sys.stderr)\n"
        "os.system('echo from a child')\n"
        "print(sys.stdin.read(), end='')"
    )
    status, output = project.run(code, stdin="given\n")
    assert status == 0
    assert output.splitlines() == [str(n) for i in range(200) for n in (i, -i)] + ["from a child", "given"]


def test_unflushed_output_is_not_lost(project):
    assert project.run("print('x' * 100000); status = 2") == (2, "x" * 100000 + "\n")


def test_environment_and_folder_are_those_of_the_client(project, tmp_path):
    project.server()
    other = tmp_path / "other folder"
    other.mkdir()
    code = "import os, time; print(os.getcwd()); print(os.environ.get('GIVEN')); print(time.tzname[0])"
    process = project.start(code, cwd=other, GIVEN="ä=b", TZ="UTC-3")
    output, _ = process.communicate(timeout=60)
    assert output.splitlines()[:2] == [str(other), "ä=b"]
    assert project.run(code, TZ="Asia/Tokyo")[1].split()[1:] == ["None", "JST"]


def test_an_edit_between_two_calls_is_seen(project):
    extra = project.folder / "bench" / "extra.py"
    extra.write_text("value = 'first'\n")
    code = "import os, bench.extra; print(bench.extra.value, os.getppid())"
    first, server = project.run(code)[1].split()
    extra.write_text("value = 'and second'\n")
    assert (first, project.run(code)[1].split()) == ("first", ["and", "second", server])
    (project.folder / "bench" / "new.py").write_text("value = 'new'\n")
    assert project.run("import bench.new; print(bench.new.value)") == (0, "new\n")
    run_stage = project.folder / "bench" / "run_stage.py"
    run_stage.write_text("def run_stage(arguments):\n    return 77\n")
    assert project.run("")[0] == 77
    run_stage.write_text(RUN_STAGE)
    project.servers.add(int(server))


def test_an_edit_of_the_warm_start_itself_is_seen(project):
    old = project.server()
    with (project.folder / "bench" / "warm_start.py").open("a") as file:
        file.write("\n# edited\n")
    text = (project.folder / "bench" / "warm_start.py").read_text()
    main = 'if __name__ == "__main__":'
    (project.folder / "bench" / "warm_start.py").write_text(
        text.replace(main, f"{main}\n    os.environ['NEW'] = '1'")
    )
    new = project.server()
    assert new != old
    for address in project.temporary.glob("*/*.sock"):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(address))
    os.kill(old, signal.SIGKILL)


def test_other_settings_of_libraries_get_another_server(project):
    here = project.server()
    status, output = project.run(
        "import os; print(os.getppid(), os.environ['OMP_NUM_THREADS'])", OMP_NUM_THREADS="3"
    )
    other, threads = output.split()
    project.servers.add(int(other))
    assert (status, threads) == (0, "3")
    assert int(other) != here


def test_ctrl_c_reaches_the_stage(project, tmp_path):
    started = tmp_path / "started"
    process = project.start(f"import pathlib, time; pathlib.Path({str(started)!r}).touch(); time.sleep(60)")
    wait_for(started.exists, "the stage starts")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (130, "interrupted\n")


def test_a_stage_ends_with_its_client(project, tmp_path):
    pid_file = tmp_path / "pid"
    code = (
        "import os, pathlib, time\n"
        f"partial = pathlib.Path({str(pid_file) + '.partial'!r}); partial.write_text(str(os.getpid()))\n"
        f"partial.rename({str(pid_file)!r}); time.sleep(60)"
    )
    process = project.start(code)
    wait_for(pid_file.exists, "the stage starts")
    stage = int(pid_file.read_text())
    assert runs(stage)
    process.kill()
    process.communicate(timeout=60)
    wait_for(lambda: not runs(stage), "the stage ends")
    assert project.run("status = 5")[0] == 5


def test_two_clients_at_once_are_served_at_once(project, tmp_path):
    server = project.server()
    # Each waits for the other, so one after the other would never end.
    code = (
        "import os, pathlib, sys, time\n"
        "mine, other = (pathlib.Path({folder!r}) / name for name in {names!r})\n"
        "mine.touch()\n"
        "while not other.exists(): time.sleep(0.01)\n"
        "print(os.getppid()); status = {status}"
    )
    pairs = [(("a", "b"), 3), (("b", "a"), 4)]
    processes = [
        project.start(code.format(folder=str(tmp_path), names=names, status=status))
        for names, status in pairs
    ]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [3, 4]
    assert {int(output) for output in outputs} == {server}


def test_two_clients_that_find_no_server_start_one(project):
    processes = [project.start("import os; print(os.getppid())") for _ in range(3)]
    servers = {int(process.communicate(timeout=60)[0]) for process in processes}
    project.servers |= servers
    assert len(servers) == 1


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
    assert len(list(Path(f"/proc/{server}/fd").iterdir())) <= open_files


def test_a_killed_server_is_replaced(project):
    old = project.server()
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: not runs(old), "the server ends")
    assert project.address().exists()
    assert project.server() != old


def test_the_server_ends_when_nothing_comes_but_not_while_a_stage_runs(project, tmp_path):
    address = project.temporary / "idle.sock"
    program = (
        f"from pathlib import Path; from bench.warm_start import serve; serve(Path({str(address)!r}), 0.2)"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=project.folder,
        env=os.environ | {"PYTHONPATH": str(project.folder)},
    )
    wait_for(address.exists, "the server listens")
    client = (
        "import sys; from pathlib import Path; from bench import warm_start\n"
        f"warm_start._address = lambda: Path({str(address)!r})\n"
        "sys.exit(warm_start.run_warm(['import time; time.sleep(1); status = 9']))"
    )
    environment = os.environ | {"PYTHONPATH": str(project.folder)}
    ended = subprocess.run([sys.executable, "-c", client], cwd=project.folder, env=environment, check=False)
    assert ended.returncode == 9
    assert server.wait(timeout=30) == 0
    assert not address.exists()


def test_a_request_that_the_server_never_read_is_run_by_the_client(project, tmp_path):
    address = project.temporary / "closing.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(address))
    listener.listen()
    client = (
        "import sys; from pathlib import Path; from bench import warm_start\n"
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
    assert process.communicate(timeout=60)[0] == "None\n"


COLD = "import os, sys; print(os.getpid(), 'decimal' in sys.modules)"


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
        output, _ = process.communicate(timeout=60)
        assert output == f"{process.pid} False\n", environment
    assert list(project.temporary.iterdir()) == []
