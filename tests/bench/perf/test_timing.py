import io
import json
import time

import pytest
from rich.console import Console

from bench.perf import calibration
from bench.perf.table import as_json, as_markdown, as_table
from bench.perf.timing import (
    PerfRow,
    Quartiles,
    interleaved,
    per_second,
    quartiles,
    times_faster,
    undisturbed_seconds,
)


def test_quartiles_of_repetitions():
    assert quartiles([4.0, 1.0, 3.0, 2.0, 5.0]) == Quartiles(median=3.0, low=2.0, high=4.0, count=5)
    assert quartiles([7.0]) == Quartiles(7.0, 7.0, 7.0, 1)


def test_ratios_are_taken_round_by_round():
    # The machine is ten times slower in the second round, for both: the ratio does not see it.
    seconds = {"ours": [1.0, 10.0, 2.0], "theirs": [3.0, 30.0, 6.0]}
    assert times_faster(seconds, "ours", "theirs") == Quartiles(3.0, 3.0, 3.0, 3)
    assert per_second(seconds["ours"], 20).median == 10


def test_calls_take_turns_and_the_first_of_each_is_not_counted():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in ("a", "b", "c")}
    seconds = interleaved(calls, 3)
    assert "".join(order) == "abc" + "abc" + "cba" + "abc"
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3, "c": 3}
    assert all(time >= 0 for times in seconds.values() for time in times)


@pytest.mark.parametrize(
    ("value", "ratio", "targets", "met"),
    [
        (5.0, None, {}, None),
        (None, None, {"at_most": 8.0}, None),
        (5.0, None, {"at_most": 8.0}, True),
        (9.0, None, {"at_most": 8.0}, False),
        (0.84, None, {"at_least": 0.83}, True),
        (100.0, 1.3, {"at_least": 1.4}, False),
        (0.1, 1.4, {"at_least": 1.4}, True),
    ],
)
def test_a_target_judges_the_ratio_where_there_is_one(value, ratio, targets, met):
    row = PerfRow(
        "group", "name", "s", value and quartiles([value]), ratio=ratio and quartiles([ratio]), **targets
    )
    assert row.met is met


def test_the_table_says_everything_in_every_form():
    rows = [
        PerfRow("CKA", "large", "s", quartiles([4.0, 6.0, 5.0]), at_most=4.5),
        PerfRow(
            "pretraining", "moco", "images/s", quartiles([1234.5]), "lightly", quartiles([1.5]), at_least=1.4
        ),
        PerfRow("pretraining", "ResNet-50", "images/s", None, note="left out: too slow"),
    ]
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(as_table(rows, "a machine"))
    shown, markdown = console.export_text(), as_markdown(rows)
    for text in (shown, markdown):
        for part in ("5 (4.5 to 5.5) s", "not met", "1.5", "lightly", "1,234 images/s", "left out: too slow"):
            assert part in text, part
    assert markdown.count("\n") == 4
    content = json.loads(json.dumps(as_json(rows, {"cores": 2})))
    assert [row["met"] for row in content["rows"]] == [False, True, None]
    assert content["rows"][0]["value"] == {"median": 5.0, "low": 4.5, "high": 5.5, "count": 3}


def compute(seconds):
    """Keep the processor busy for so long."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        sum(range(1000))


def test_turns_of_other_programs_are_not_counted():
    def step():
        compute(0.02)
        time.sleep(0.1)  # as if another program had its turn

    assert undisturbed_seconds(step) == pytest.approx(0.02, abs=0.015)
    assert undisturbed_seconds(step, on_gpu=True) >= 0.12


def test_threads_side_by_side_do_not_add_up(monkeypatch):
    clocks = iter([10.0, 13.0])  # three seconds of processor in one of the clock
    monkeypatch.setattr(time, "process_time", lambda: next(clocks))
    walls = iter([5.0, 6.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(walls))
    assert undisturbed_seconds(lambda: None) == 1.0


def test_a_plan_made_on_a_busy_machine_costs_what_an_idle_one_would():
    def step(images):
        compute(0.002 * images)
        time.sleep(0.01 * images)

    assert calibration._per_image(step, 8, 0.6, on_gpu=False) == pytest.approx(0.002, rel=0.5)
