"""What an error says of images that cannot be used, few or many."""

from imssl.datasets import checks, skipped
from imssl.datasets.checks import complaint
from imssl.datasets.skipped import by_reason
from imssl.datasets.text import unknown_value


def test_many_rows_with_the_same_unknown_label_are_told_with_what_is_known():
    bad = [(f"{n}.png", unknown_value("label", "virus", ["no", "yes"])) for n in range(7)]
    reason = "unknown label 'virus' (known are no, yes)"
    assert [(entry.reason, entry.count) for entry in by_reason(bad)] == [(reason, 7)]
    first = "0.png, 1.png, 2.png, 3.png, 4.png"
    assert str(complaint("chest", bad)).splitlines()[1] == f"  7 times: {reason}: {first}, ..."


def test_as_many_reasons_as_rows_are_looked_at_once_each(monkeypatch):
    bad = [(f"{n}.png", f"unknown label '{n}'") for n in range(500)]
    looked_at = []
    real = skipped.general_reason
    for module in (checks, skipped):
        monkeypatch.setattr(module, "general_reason", lambda reason: looked_at.append(reason) or real(reason))
    lines = str(complaint("chest", bad)).splitlines()
    assert len(looked_at) <= 2 * len(bad)
    assert lines[0] == "chest: 500 images or rows cannot be used:"
    assert lines[1:21] == [f"  {n}.png: unknown label '{n}'" for n in range(20)]
    assert lines[21] == "  and 480 more"
