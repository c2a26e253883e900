"""How the processes of one cell are followed, stopped and heard; another program stands for torchrun."""

import os
import sys
import time

import pytest

from bench.machine.torchrun import COMMAND, Exchange, run_processes
from bench.machine.workers import PROGRESS_SECONDS
from imssl.errors import Diverged, Stopped, UserError


@pytest.fixture
def processes(tmp_path, monkeypatch):
    """Runs a program in the place of torchrun; ``exchange`` is defined in it."""

    def run(program, on_progress=lambda done, total: None, on_epoch=lambda row: None):
        script = tmp_path / "launcher.py"
        script.write_text(
            "import sys, time, os\nfrom pathlib import Path\n"
            "from bench.machine.torchrun import Exchange\nfrom imssl.errors import Stopped\n"
            "assert sys.argv[1:3] == ['-m', 'some.module']\n"
            f"exchange = Exchange(Path(sys.argv[3]))\n{program}"
        )
        monkeypatch.setenv(COMMAND, f"{sys.executable} {script}")
        exchange = Exchange(tmp_path / "processes")
        exchange.ask({"cell": "a"})
        return run_processes("some.module", exchange, 2, 1, on_progress, on_epoch)

    return run


def test_progress_is_passed_on(processes):
    heard = []
    processes(
        "assert exchange.request == {'cell': 'a'}\nassert os.environ['OMP_NUM_THREADS'] == '1'\n"
        "exchange.tell(3, 8)\ntime.sleep(0.6)\nexchange.end('done')",
        lambda *progress: heard.append(progress),
    )
    assert (3, 8) in heard


def test_epochs_and_costs_are_passed_on(processes):
    rows = []
    program = (
        "exchange.tell_epoch({'epoch': 1, 'loss': 2.5})\ntime.sleep(0.5)\n"
        "exchange.tell_epoch({'epoch': 2, 'loss': None})\n"
        "(exchange.folder / 'epochs.jsonl').open('a').write('{\"epoch\"')\n"  # the next is being written
        "time.sleep(0.5)\nexchange.end('done', costs={'seconds': 7.5})"
    )
    assert processes(program, on_epoch=rows.append) == {"seconds": 7.5}
    assert rows == [{"epoch": 1, "loss": 2.5}, {"epoch": 2, "loss": None}]


def test_steps_that_follow_fast_are_not_all_written_down_but_a_stop_is_seen_at_each(tmp_path, monkeypatch):
    exchange = Exchange(tmp_path / "processes")
    exchange.ask({})
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    started = time.monotonic()
    for step in range(1, 501):
        exchange.tell(step, 1000)
    if time.monotonic() - started < PROGRESS_SECONDS:
        assert exchange.read("progress") == [1, 1000]
    assert not synced
    exchange.stop()
    with pytest.raises(Stopped):
        exchange.tell(501, 1000)


def test_a_stop_lets_the_processes_save_and_is_passed_on(processes, tmp_path):
    def on_progress(done, total):
        if done:
            raise Stopped

    program = """
try:
    while True:
        exchange.tell(1, 8)
        time.sleep(0.05)
except Stopped:
    (exchange.folder / "saved").touch()
    exchange.end("stopped")
"""
    with pytest.raises(Stopped):
        processes(program, on_progress)
    assert (tmp_path / "processes" / "saved").exists()


@pytest.mark.parametrize(
    ("how", "error"), [("diverged", Diverged), ("refused", UserError), ("stopped", Stopped)]
)
def test_what_the_first_process_says_is_raised(processes, how, error):
    with pytest.raises(error, match="" if how == "stopped" else "why"):
        processes(f"exchange.end({how!r}, 'why')")


def test_a_failure_shows_what_was_printed_last(processes, tmp_path):
    with pytest.raises(RuntimeError, match="status 3") as failure:
        processes("print('CUDA out of memory', file=sys.stderr)\nsys.exit(3)")
    assert str(failure.value).endswith("CUDA out of memory")
    assert str(tmp_path / "processes" / "output.txt") in str(failure.value)


def test_what_is_left_of_an_earlier_attempt_is_not_taken_for_news(processes, tmp_path):
    folder = tmp_path / "processes"
    folder.mkdir()
    Exchange(folder).stop()
    Exchange(folder).end("diverged", "long ago")
    processes("exchange.tell(1, 2)\nexchange.end('done')")


def test_an_error_here_ends_the_processes(processes, tmp_path):
    def on_progress(done, total):
        if done:
            raise OSError("no space left")

    program = "(exchange.folder / 'pid').write_text(str(os.getpid()))\nexchange.tell(1, 8)\ntime.sleep(600)"
    started = time.monotonic()
    with pytest.raises(OSError, match="no space left"):
        processes(program, on_progress)
    assert time.monotonic() - started < 60
    pid = int((tmp_path / "processes" / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_command_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv(COMMAND, "no-such-srun --nodes=2")
    exchange = Exchange(tmp_path / "processes")
    exchange.ask({})
    with pytest.raises(UserError, match=r"IMSSL_BENCH_TORCHRUN: no-such-srun cannot be started"):
        run_processes("some.module", exchange, 2, 1, lambda done, total: None)
