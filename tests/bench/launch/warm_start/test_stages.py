"""What a stage sees and does in a warm child is what it would see and do by itself."""

import contextlib
import os
import signal
import socket
import sys

import pytest

from tests.bench.launch.warm_start.project import RUN_STAGE, runs, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="stages are warm-started on Linux only")

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
    output, _ = process.communicate(timeout=600)
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
    run_stage = project.folder / "bench" / "launch" / "run_stage.py"
    run_stage.write_text("def run_stage(arguments):\n    return 77\n")
    assert project.run("")[0] == 77
    run_stage.write_text(RUN_STAGE)
    project.servers.add(int(server))


def test_an_edit_of_the_warm_start_itself_is_seen(project):
    old = project.server()
    servers = {old}
    for name in ("warm_start.py", "warm_server.py"):
        with (project.folder / "bench" / "launch" / name).open("a") as file:
            file.write("\n# edited\n")
        servers.add(project.server())
    assert len(servers) == 3
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
    output, _ = process.communicate(timeout=600)
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
    process.communicate(timeout=600)
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
    outputs = [process.communicate(timeout=600)[0] for process in processes]
    assert [process.returncode for process in processes] == [3, 4]
    assert {int(output) for output in outputs} == {server}


def test_two_clients_that_find_no_server_start_one(project):
    processes = [project.start("import os; print(os.getppid())") for _ in range(3)]
    servers = {int(process.communicate(timeout=600)[0]) for process in processes}
    project.servers |= servers
    assert len(servers) == 1


def test_the_project_is_imported_once_until_a_source_is_saved(project):
    run_stage = project.folder / "bench" / "launch" / "run_stage.py"
    run_stage.write_text(f"import os\nIMPORTED_BY = os.getpid()\n{RUN_STAGE}")
    code = (
        "from bench.launch import run_stage as r; import os; print(r.IMPORTED_BY, os.getppid(), os.getpid())"
    )
    first, second, third = (project.run(code)[1].split() for _ in range(3))
    server = first[1]
    project.servers.add(int(server))
    assert first[0] == first[2]  # a first stage does not wait for it
    assert second[0] == third[0] == server
    # A file that is saved as it was has been saved all the same, and so has a new one.
    for name in ("launch/run_stage.py", "new.py"):
        file = project.folder / "bench" / name
        file.write_text(file.read_text() if file.exists() else "value = 1\n")
        imported_by, parent, stage = project.run(code)[1].split()
        assert (imported_by, parent) == (stage, server)
