import hashlib
from pathlib import Path

import pytest

from bench.cells.method_facts import method_facts
from bench.conformance.rule import CheckReport, RuleOutcome
from bench.methods import checked
from bench.methods.checked import check_state, record_of
from bench.protocol import registry
from bench.protocol.protocol import read_protocol
from bench.protocol.registry import load_method, method_file
from bench.report.pages.background import unchecked
from imssl.errors import UserError

BUILT_IN = {
    "random-init": "RandomInit",
    "random-init-filled": "RandomInitFilled",
    "moco": "Moco",
    "moco-mse": "MocoMse",
    "moco-barlow": "MocoBarlow",
}


def test_each_built_in_method_loads_with_its_defaults(edited):
    added = "  random-init: {}\n  random-init-filled: {}\n  moco-mse: {}\n"
    protocol = edited("  random-init: {}\n", added)
    assert {method: load_method(method, protocol).method.__name__ for method in protocol.methods} == BUILT_IN
    settings = method_facts(protocol)
    assert settings["moco"].settings["hidden"] == 16  # as given
    assert settings["moco"].settings["queue_limit"] == 1.0  # by default
    assert settings["moco-mse"].settings["block_weights"] == [0.25] * 4


def test_an_unknown_method_is_answered_with_those_there_are(edited, tiny):
    protocol = edited("  random-init: {}\n", "  random-init: {}\n  jigsaw: {}\n")
    line = tiny.splitlines().index("  random-init: {}") + 2
    with pytest.raises(UserError) as error:
        load_method("jigsaw", protocol)
    message = str(error.value)
    assert message.startswith(f"params.yaml, line {line}: methods.jigsaw: ")
    for name in ("dino.py", "moco.py", "moco_barlow.py", "moco_mse.py", "random_init.py"):
        assert name in message


REFUSED = {
    "unknown": ("temperatur: 0.2", ["methods.other.temperatur", "not a known key"]),
    "wrong type": ('temperature: "0.2"', ["methods.other.temperature", '"0.2"', "number"]),
    "not finite": ("temperature: .inf", ["methods.other.temperature", "Infinity", "finite"]),
    "too small": ("queue: 0", ["methods.other.queue", "is 0", "greater than or equal to 1"]),
    "three weights": ("block_weights: [1, 1, 1]", ["methods.other.block_weights.3", "missing"]),
    "a fifth grid": ("block_grids: [1, 1, 1, 1, 1]", ["methods.other.block_grids", "4"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_hyperparameter_is_named_with_its_line(edited, tiny, name):
    given, words = REFUSED[name]
    protocol = edited(
        "  random-init: {}\n", f"  random-init: {{}}\n  other:\n    file: moco_mse.py\n    {given}\n"
    )
    line = tiny.splitlines().index("  random-init: {}") + 4
    with pytest.raises(UserError) as error:
        method_facts(protocol)
    assert f"params.yaml, line {line}: " in str(error.value)
    assert [word for word in words if word not in str(error.value)] == []


def test_a_row_may_have_values_of_the_optimiser_of_its_own(edited):
    protocol = edited("  moco:\n", "  moco:\n    optimisation: {learning_rate: 0.2, momentum: 0.5}\n")
    moco, other = load_method("moco", protocol), load_method("moco-barlow", protocol)
    assert (moco.optimisation.learning_rate, moco.optimisation.momentum) == (0.2, 0.5)
    assert moco.optimisation.schedule == "cosine"
    assert other.optimisation == protocol.pretrain.optimisation
    assert moco.pretrain_on("chest", protocol).optimisation == moco.optimisation
    # The length is everybody's.
    assert moco.pretrain_on("chest", protocol).epochs == other.pretrain_on("chest", protocol).epochs == 2


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{learning_rate: -1}", r"line \d+: methods\.moco\.optimisation\.learning_rate is -1"),
        ("{epochs: 9}", r"line \d+: methods\.moco\.optimisation\.epochs is not a known key"),
        ("[0.1]", r"line \d+: methods\.moco\.optimisation must hold values"),
    ],
)
def test_a_wrong_value_of_the_optimiser_is_named_with_its_line(edited, written, message):
    protocol = edited("  moco:\n", f"  moco:\n    optimisation: {written}\n")
    with pytest.raises(UserError, match=message):
        load_method("moco", protocol)


def test_one_file_can_be_two_rows(edited):
    protocol = edited("  random-init: {}\n", "  cold: {file: moco.py, temperature: 0.05}\n")
    cold, warm = load_method("cold", protocol), load_method("moco", protocol)
    assert cold.method is warm.method
    assert cold.file == warm.file
    assert cold.settings.temperature == 0.05
    assert warm.settings.temperature == 0.2


@pytest.mark.parametrize(
    "file",
    [
        "../losses.py",
        "/etc/passwd",
        "moco",
        "moco.pyc",
        "__init__.py",
        "''",
        "3",
        "[moco.py]",
        "null",
        "../methods/moco.py",
    ],
)
def test_only_a_file_in_the_folder_of_methods_is_taken(edited, file):
    protocol = edited("  random-init: {}\n", f"  other: {{file: {file}}}\n")
    with pytest.raises(UserError, match=r"params\.yaml, line \d+: methods\.other: there is no file"):
        method_file("other", protocol)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from imssl.methods.moco import Moco\n", "none"),
        ("from imssl.method import Method\nclass A(Method): pass\nclass B(A): pass\n", "A, B"),
    ],
)
def test_a_method_file_defines_exactly_one_method(edited, tmp_path, monkeypatch, text, found):
    import imssl.methods

    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "mine.py").write_text(text)
    monkeypatch.setattr(registry, "METHODS_FOLDER", tmp_path / "methods")
    monkeypatch.setattr(imssl.methods, "__path__", [str(tmp_path / "methods")])
    monkeypatch.delitem(__import__("sys").modules, "imssl.methods.mine", raising=False)
    protocol = edited("  random-init: {}\n", "  mine: {}\n")
    with pytest.raises(UserError, match=f"exactly one subclass .* found: {found}"):
        load_method("mine", protocol)


def test_the_state_of_the_checks_is_that_of_the_file_now(edited, tmp_path, monkeypatch):
    methods, records = tmp_path / "methods", tmp_path / "checked"
    methods.mkdir()
    monkeypatch.setattr(registry, "METHODS_FOLDER", methods)
    monkeypatch.setattr(checked, "FOLDER", records)
    for name in ("moco.py", "moco_barlow.py"):
        (methods / name).write_text("")
    (methods / "mine.py").write_text("x = 1\n")
    protocol = edited("  random-init: {}\n", "  mine: {}\n  mine-2: {file: mine.py}\n")
    assert check_state("moco", protocol).state == "built-in"
    assert check_state("mine", protocol).state == "skipped"
    sha256 = hashlib.sha256(b"x = 1\n").hexdigest()
    report = CheckReport(
        "mine.py", sha256, "Mine", {}, (RuleOutcome("losses", "pass", "", ""),), None, None, {}
    )
    records.mkdir()
    (records / "mine.json").write_text(record_of(report, "mine.py").model_dump_json())
    assert check_state("mine", protocol).state == check_state("mine-2", protocol).state == "passed"
    assert unchecked(protocol) == []
    (methods / "mine.py").write_text("x = 2\n")
    changed = check_state("mine-2", protocol)
    assert changed.state == "changed"
    assert changed.sentence.startswith("mine-2: its file has changed since it passed the checks. ")
    assert "bench update-method mine-2 imssl/methods/mine.py" in changed.sentence
    assert [line.split(":")[0] for line in unchecked(protocol)] == ["mine", "mine-2"]
    (records / "mine.json").write_text("{}")
    with pytest.raises(UserError, match="not a record of checks"):
        check_state("mine", protocol)
    assert len(unchecked(protocol)) == 2


def test_without_params_yaml_the_key_is_still_named(project: Path):
    protocol = read_protocol().model_copy(update={"methods": {"moco": {"queue": "many"}}})
    (project / "params.yaml").unlink()
    with pytest.raises(UserError, match=r'^params\.yaml: methods\.moco\.queue is "many"'):
        load_method("moco", protocol)
