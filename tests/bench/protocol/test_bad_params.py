"""Wrong params.yaml: each is one message with place and remedy, exit status 2, and nothing is changed."""

import sys
from pathlib import Path

import pytest

from bench.cli import main

# name: (passage of tests/bench/tiny.yaml, what stands there instead, words of the message)
CASES = {
    # types
    "a list for a number": ("width: 8", "width: [8]", ["encoder.width", "integer"]),
    "true for a number": ("epochs: 2\n", "epochs: true\n", ["pretrain.epochs", "true", "integer"]),
    "a date for a text": ("profile: tiny", "profile: 2020-01-01", ["profile", "line 2", "quotes"]),
    "a mapping for a list": ("seeds: [0]", "seeds: {a: 0}", ["seeds", "list"]),
    "a number for a list": ("seeds: [0]", "seeds: 0", ["seeds", "list"]),
    "a text for a seed": ("seeds: [0]", "seeds: ['0']", ["seeds.0", "integer"]),
    "nothing for a seed": ("seeds: [0]", "seeds: [null]", ["seeds.0", "integer"]),
    "a list of methods": (
        "  random-init: {}\n  moco:\n    hidden",
        "  - random-init\n  - moco\n  - hidden",
        ["not YAML"],
    ),
    "nothing for a method": ("random-init: {}", "random-init:", ["methods.random-init", "mapping"]),
    "a pair for four weights": (
        "  random-init: {}",
        "  moco-mse: {block_weights: [0.5, 0.5]}",
        ["methods.moco-mse.block_weights"],
    ),
    "five weights": (
        "  random-init: {}",
        "  moco-mse: {block_weights: [1, 1, 1, 1, 1]}",
        ["methods.moco-mse.block_weights"],
    ),
    "a negative weight": (
        "  random-init: {}",
        "  moco-mse: {block_weights: [1, -1, 1, 1]}",
        ["methods.moco-mse.block_weights"],
    ),
    "a text for crop_scale": (
        "finetune_augmentation:\n",
        "finetune_augmentation:\n  crop_scale: big\n",
        ["finetune_augmentation.crop_scale"],
    ),
    "three values for a range": (
        "finetune_augmentation:\n",
        "finetune_augmentation:\n  crop_scale: [0.1, 0.2, 0.3]\n",
        ["finetune_augmentation.crop_scale"],
    ),
    # sizes
    "zero epochs": ("finetune:\n  epochs: 1", "finetune:\n  epochs: 0", ["finetune.epochs", "is 0"]),
    "a batch of one": ("  batch_size: 16\n  optim", "  batch_size: 1\n  optim", ["pretrain.batch_size"]),
    "a huge batch": ("  batch_size: 16\n  optim", "  batch_size: 1000000000\n  optim", ["batch_size"]),
    "more epochs than anyone has": ("epochs: 2\n", "epochs: 99999999999999999999\n", ["pretrain.epochs"]),
    "a learning rate of zero": ("learning_rate: 0.03", "learning_rate: 0", ["learning_rate", "greater"]),
    "a negative learning rate": ("learning_rate: 0.03", "learning_rate: -1", ["learning_rate"]),
    "a huge learning rate": ("learning_rate: 0.03", "learning_rate: 1.0e+300", ["learning_rate"]),
    "a learning rate beyond floats": ("learning_rate: 0.03", "learning_rate: 1.0e+999", ["learning_rate"]),
    "minus infinity": ("learning_rate: 0.03", "learning_rate: -.inf", ["learning_rate", "finite"]),
    "momentum of one": ("momentum: 0.9", "momentum: 1.0", ["momentum", "less than 1"]),
    "warmup of one": ("warmup: 0.0", "warmup: 1.0", ["warmup", "less than 1"]),
    "a negative seed": ("seeds: [0]", "seeds: [-1]", ["seeds.0", "-1"]),
    "no seed": ("seeds: [0]", "seeds: []", ["seeds", "at least 1"]),
    "a NaN fraction": ("[0.5, 1.0]", "[.nan, 1.0]", ["label_fractions.0", "finite"]),
    "a negative fraction": ("[0.5, 1.0]", "[-0.5, 1.0]", ["label_fractions.0"]),
    "fractions upside down": ("[0.5, 1.0]", "[1.0, 0.5]", ["label_fractions", "ascend"]),
    "three channels of two": ("channels: 1", "channels: 2", ["datasets.chest.channels"]),
    "an image of one pixel": ("size: 16\n    channels: 1", "size: 1\n    channels: 1", ["chest.size"]),
    "an image of a wall": ("size: 16\n    channels: 1", "size: 100000\n    channels: 1", ["chest.size"]),
    "one patient": ("patients: 30\n    seed: 1", "patients: 1\n    seed: 1", ["chest.patients"]),
    "no threads": ("threads: 1", "threads: 0", ["hardware.threads"]),
    "a level of one": ("level: 0.9", "level: 1.0", ["report.level"]),
    "no resamples": ("resamples: 100", "resamples: 0", ["report.resamples"]),
    "one sample for CKA": ("samples: 20", "samples: 1", ["reuse.samples"]),
    "no strength of l2": (
        "probe:\n  l2: [0.1]",
        "probe:\n  l2: []",
        ["probe.l2", "at least 1"],
    ),
    "a negative l2": ("probe:\n  l2: [0.1]", "probe:\n  l2: [-0.1]", ["probe.l2"]),
    "no temperature": (
        "queue: 32\n    temperature: 0.2\n    batch_norm_splits: 1\n  moco-b",
        "queue: 32\n    temperature: 0\n    batch_norm_splits: 1\n  moco-b",
        ["methods.moco.temperature"],
    ),
    "an empty queue": (
        "queue: 32\n    temperature: 0.2\n    batch_norm_splits: 1\n  moco-b",
        "queue: 0\n    temperature: 0.2\n    batch_norm_splits: 1\n  moco-b",
        ["methods.moco.queue"],
    ),
    # names
    "a data set twice": ("  fundus:\n", "  chest:\n", ["chest", "duplicate"]),
    "a method twice": ("  moco-barlow:\n", "  moco:\n", ["moco", "duplicate"]),
    "a method that is none": ("  random-init: {}", "  simple: {}", ["methods.simple", "simple.py"]),
    "a method's file elsewhere": (
        "  random-init: {}",
        "  evil: {file: ../../evil.py}",
        ["methods.evil", "../../evil.py"],
    ),
    "an absolute file of a method": (
        "  random-init: {}",
        "  evil: {file: /etc/passwd}",
        ["methods.evil", "/etc/passwd"],
    ),
    "a number for a method's file": ("  random-init: {}", "  evil: {file: 3}", ["methods.evil", "3"]),
    "a list for a method's file": ("  random-init: {}", "  evil: {file: [a]}", ["methods.evil"]),
    "a method that escapes": ("  random-init: {}", "  ../evil: {}", ["methods.../evil", "lower-case"]),
    "a data set that escapes": ("  chest:", "  ../../chest:", ["lower-case"]),
    "an absolute data set": ("  chest:", "  /tmp/chest:", ["lower-case"]),
    "a data set with a line break": ("  chest:", '  "che\\nst":', ["lower-case"]),
    "a data set with a zero byte": ("  chest:", '  "che\\0st":', ["lower-case"]),
    "a data set of markup": ("  chest:", '  "<script>":', ["lower-case"]),
    "a data set of a shell": ("  chest:", '  "$(reboot)":', ["lower-case"]),
    "a data set of dvc's templates": ("  chest:", '  "${seeds}":', ["lower-case"]),
    "a long name": ("  chest:", f"  {'c' * 300}:", ["at most 40"]),
    "an empty name": ("  chest:", '  "":', ["lower-case"]),
    "a name that is not ASCII": ("  chest:", "  thorax-ü:", ["lower-case"]),
    "a trailing hyphen": ("  chest:", "  chest-:", ["lower-case"]),
    "a flag of medmnist that escapes": (
        "source: phantom\n    kind: chest\n    patients: 30\n    seed: 1",
        "source: medmnist\n    flag: ../../etc\n    resolution: 28\n    path: data",
        ["datasets.chest.flag"],
    ),
    "an empty path": (
        "source: phantom\n    kind: chest\n    patients: 30\n    seed: 1",
        'source: nih\n    path: ""',
        ["datasets.chest.path"],
    ),
    "a path with a zero byte": (
        "source: phantom\n    kind: chest\n    patients: 30\n    seed: 1",
        'source: nih\n    path: "a\\0b"',
        ["datasets.chest.path"],
    ),
    "the keys of another source": (
        "source: phantom\n    kind: chest",
        "source: nih\n    path: x\n    kind: chest",
        ["datasets.chest.kind", "not a known key"],
    ),
    # YAML itself
    "an object of Python": ("seeds: [0]", "seeds: !!python/object/apply:os.system [reboot]", ["seeds"]),
    "a tag of somebody on a list": ("seeds: [0]", "seeds: !evil [0]", ["line 9", "!evil"]),
    "a set": ("seeds: [0]", "seeds: !!set {0}", ["seeds"]),
    "bytes": ("profile: tiny", "profile: !!binary YWJj", ["profile"]),
    "a tag of somebody": ("profile: tiny", "profile: !evil tiny", ["profile"]),
    "a list within itself": ("seeds: [0]", "seeds: &a [*a]", ["params.yaml"]),
    "a mapping within itself": ("  random-init: {}", "  random-init: &a\n    x: *a", ["params.yaml"]),
    "a deep nest": ("seeds: [0]", f"seeds: {'[' * 600}{']' * 600}", ["params.yaml"]),
    "a thousand million laughs": (
        "seeds: [0]",
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "\n".join(
            f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
        )
        + "\nseeds: *i",
        ["params.yaml"],
    ),
    "a bell": ("profile: tiny", "profile: ti\x07ny", ["params.yaml"]),
    "a lone surrogate": ("profile: tiny", 'profile: "\\ud800"', ["params.yaml"]),
    "an unclosed quote": ("profile: tiny", 'profile: "tiny', ["not YAML"]),
    "an unknown escape": ("profile: tiny", r'profile: "\q"', ["not YAML", "line 2"]),
    "a colon too many": ("profile: tiny", "profile: tiny: small", ["not YAML", "line 2"]),
    "a directive": ("profile: tiny", "%YAML 9.9\n---\nprofile: tiny", ["params.yaml"]),
}


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture
def check(project, capsys, monkeypatch):
    def run(text: str) -> tuple[int, str, str]:
        (project / "params.yaml").write_bytes(text.encode("utf-8"))
        before = files_of(project)
        monkeypatch.setattr(sys, "argv", ["bench", "check"])
        try:
            main()
            status = 0
        except SystemExit as ended:
            status = int(ended.code or 0)
        assert files_of(project) == before
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_value_is_one_message_and_status_2(check, tiny, case):
    old, new, words = CASES[case]
    assert tiny.count(old) == 1
    status, out, err = check(tiny.replace(old, new))
    assert (status, out) == (2, "")
    assert err.startswith("error: params.yaml")
    assert [word for word in words if word not in err] == []
    assert "Traceback" not in err
    assert len(err) < 2000
