import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import bench
from bench.cells.store.held_cells import write_holder
from bench.cli import app, main
from bench.launch import repro
from imssl.errors import UserError

ROOT = Path(bench.__file__).parents[1]


@pytest.fixture
def command(capfd, monkeypatch):
    """Run ``bench`` with arguments as the console does: status, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bench", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capfd.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TERM": "dumb", "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("verb", ["check", "verify"])
def test_params_that_are_a_pipe_are_called_one(command, tmp_path, monkeypatch, verb):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("params.yaml")
    assert command(verb) == (2, "", "error: params.yaml cannot be read: is a named pipe, not a file\n")


def test_help_names_every_verb_and_the_exit_statuses():
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    for word in (
        "check",
        "repro",
        "report",
        "profile",
        "Exit status",
        "params.yaml",
        "reports/leaderboard.html",
    ):
        assert word in result.stdout
    verbs = CliRunner().invoke(app, ["profile", "--help"]).stdout
    assert "list" in verbs
    assert "use" in verbs


def test_help_and_profiles_do_not_wait_for_torch(project):
    program = (
        "import sys\nfrom bench.cli import app\n"
        "try:\n    app({})\nexcept SystemExit:\n    print('torch' in sys.modules)"
    )
    for arguments in (["--help"], ["profile", "list"], ["profile", "use", "demo", "--force"]):
        ended = python("-c", program.format(arguments), cwd=project)
        assert ended.stdout.splitlines()[-1] == "False", (arguments, ended.stderr)


def test_a_mistake_goes_to_standard_error_with_status_2_and_no_traceback(command, project):
    (project / "params.yaml").write_text(
        (project / "params.yaml").read_text().replace("width: 8", "width: 7")
    )
    for arguments in (["check"], ["repro"], ["report"]):
        status, out, err = command(*arguments)
        assert (status, out) == (2, "")
        assert err.startswith("error: params.yaml, line ")
        assert "encoder.width is 7" in err
        assert "Traceback" not in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["check", "--nonsense"],
        ["profile", "use"],
        ["profile", "use", "big"],
        ["profile", "use", "paper"],
    ],
)
def test_a_wrong_command_is_status_2(command, project, arguments):
    status, out, err = command(*arguments)
    assert (status, out) == (2, "")
    assert err
    assert "Traceback" not in err


def test_profiles_are_listed(command):
    status, out, _ = command("profile", "list")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines() if line[:1].isalpha()][1:] == [
        "demo",
        "small",
        "study-medmnist",
        "study",
        "medmnist",
        "paper",
    ]


def test_a_profile_is_used_and_an_edited_one_is_not_overwritten(command, project):
    before = (project / "params.yaml").read_text()
    status, _, err = command("profile", "use", "demo")
    assert status == 2
    assert "--force" in err
    assert (project / "params.yaml").read_text() == before
    status, out, _ = command("profile", "use", "demo", "--force")
    assert status == 0
    assert "params.yaml is now profile demo." in out
    status, out, _ = command("profile", "use", "medmnist", "--data-dir", str(project))
    assert status == 0
    assert f"medmnist: {project}" in out


def test_check_counts_what_the_protocol_holds(command, project):
    status, out, _ = command("check")
    assert status == 0
    fine, unprepared = out.splitlines()
    assert fine == "params.yaml is fine: 2 data sets, 3 methods, 1 seeds, 2 label sets"
    assert unprepared.endswith("were not compared with their images: chest, fundus")
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("projection: 16", "projektion: 16"))
    status, _, err = command("check")
    assert status == 2
    assert "methods.moco-barlow.projektion is not a known key" in err


def test_repro_needs_a_project_and_passes_on_arguments_and_status(project, monkeypatch, capsys):
    with pytest.raises(UserError, match=r"no dvc\.yaml"):
        repro.run_dvc_repro([])
    (project / "dvc.yaml").write_text("stages: {report: {cmd: nothing}}\n")
    (project / "reports").mkdir()
    (project / "reports" / "leaderboard.html").write_text("")
    called = []

    def run(command, env, check):
        called.append((command[1:], env["PATH"].split(os.pathsep)[0]))
        return subprocess.CompletedProcess(command, status)

    monkeypatch.setattr(repro.subprocess, "run", run)
    for status in (0, 1):
        result = CliRunner().invoke(app, ["repro", "--force", "-s", "report"])
        assert result.exit_code == status
    folder = str(Path(sys.executable).parent)
    # Only the stage inputs sees params.yaml and the sources, so it comes first, whatever is asked for.
    assert called[0] == (["-m", "dvc", "repro", "--quiet", "inputs"], folder)
    assert called[1] == (["-m", "dvc", "repro", "--force", "-s", "report"], folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nope"], "dvc repro has no option --nope. Its options: bench repro --help"),
        (["raport"], "there is no stage raport. Did you mean report?"),
        (["data@chess"], "there is no stage data@chess. Did you mean data@chest?"),
        (["report", "frozen@x"], "there is no stage frozen@x. Did you mean frozen?"),
    ],
)
def test_repro_refuses_first_what_dvc_would_refuse_later(command, project, arguments, message):
    (project / "dvc.yaml").write_text("stages: {data: {cmd: n}, frozen: {cmd: n}, report: {cmd: n}}\n")
    before = sorted(project.rglob("*"))
    assert command("repro", *arguments) == (2, "", f"error: {message}\n")
    assert sorted(project.rglob("*")) == before


@pytest.mark.parametrize(("of_dvc", "status"), [(0, 0), (1, 1), (255, 1), (254, 2)])
def test_repro_ends_with_0_1_or_2(project, monkeypatch, of_dvc, status):
    (project / "dvc.yaml").write_text("stages: {report: {cmd: n}}\n")
    monkeypatch.setattr(repro.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], of_dvc))
    assert repro.run_dvc_repro(["report"]) == status


def test_the_leaderboard_is_named_when_the_run_is_done(project, monkeypatch, capsys):
    (project / "dvc.yaml").write_text("stages: {report: {cmd: nothing}}\n")
    (project / "reports").mkdir()
    (project / "reports" / "leaderboard.html").write_text("")
    monkeypatch.setattr(repro.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0))
    assert repro.run_dvc_repro(["report"]) == 0
    out = capsys.readouterr().out
    assert f"leaderboard: {project / 'reports' / 'leaderboard.html'}" in out
    assert "synthetic" in out


def test_report_of_a_run_that_has_not_begun_shows_holes(command, project):
    assert command("report") == (0, "leaderboard: reports/leaderboard.html\n", "")
    assert (project / "reports" / "leaderboard.html").stat().st_size > 0


@pytest.mark.slow
def test_reports_are_claimed_in_the_checkout_and_not_in_a_shared_store(project, tmp_path_factory):
    """Two checkouts that share a store write reports of their own; one checkout writes one at a time."""
    write_holder(Path(".bench/claims/report"), "the stage report")
    ended = subprocess.run(
        [sys.executable, "-m", "bench", "report"],
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "IMSSL_BENCH_STORE": str(tmp_path_factory.mktemp("shared"))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert f"the stage report (process {os.getpid()}" in ended.stderr


def test_the_shell_can_complete_it(project):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    script = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.argv[0] = 'bench'; from bench.cli import main; main()",
            "--show-completion",
            "bash",
        ],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert script.returncode == 0
    assert "_BENCH_COMPLETE" in script.stdout


def test_bench_is_a_console_command():
    found = shutil.which("bench", path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip("the suite is not installed here")
    assert subprocess.run([found, "--help"], capture_output=True, check=False).returncode == 0
