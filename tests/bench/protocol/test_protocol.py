from pathlib import Path

import pytest

from bench.protocol.params_file import read_params
from bench.protocol.protocol import read_protocol
from imssl.errors import UserError

# name: (passage of the file, what stands there instead, words of the message, text that marks the line)
MISTAKES = {
    "unknown key": (
        "monitor_every: 2",
        "monitor_evry: 2",
        ["pretrain.monitor_evry", "not a known key"],
        "monitor_evry",
    ),
    "missing key": ("  monitor_every: 2\n", "", ["pretrain.monitor_every", "missing"], "pretrain:"),
    "missing key of a data set": (
        "    patients: 30\n    seed: 1",
        "    seed: 1",
        ["datasets.chest.patients", "missing"],
        "  chest:",
    ),
    "missing section": ("seeds: [0]\n", "", ["seeds", "missing"], None),
    "text for a number": (
        "epochs: 2\n",
        "epochs: two\n",
        ["pretrain.epochs", '"two"', "integer"],
        "epochs: two",
    ),
    "a fraction of an epoch": (
        "epochs: 2\n",
        "epochs: 2.5\n",
        ["pretrain.epochs", "2.5", "integer"],
        "epochs: 2.5",
    ),
    "a number in quotes": (
        "learning_rate: 0.03",
        'learning_rate: "1e-3"',
        ["pretrain.optimisation.learning_rate", '"1e-3"', "number"],
        '"1e-3"',
    ),
    "negative": (
        "epochs: 2\n",
        "epochs: -2\n",
        ["pretrain.epochs", "-2", "greater than or equal to 1"],
        "epochs: -2",
    ),
    "NaN": ("learning_rate: 0.03", "learning_rate: .nan", ["learning_rate", "NaN", "finite"], ".nan"),
    "infinity": (
        "learning_rate: 0.03",
        "learning_rate: .inf",
        ["learning_rate", "Infinity", "finite"],
        ".inf",
    ),
    "yes for true": (
        "vertical_flip: false",
        "vertical_flip: no",
        ["datasets.chest.vertical_flip", '"no"', "boolean"],
        "vertical_flip: no",
    ),
    "a device that nobody has tried": (
        "device: cpu",
        "device: mps",
        ['hardware.device is "mps"; Apple\'s GPUs', "use auto or cpu"],
        "device: mps",
    ),
    "not a choice": ("device: cpu", "device: tpu", ["hardware.device", '"tpu"', "'cuda'"], "device: tpu"),
    "empty section": ("encoder:\n", "encoder:\nencoders:\n", ["encoder is null", "mapping"], "encoder:"),
    "fraction 0": (
        "[0.5, 1.0]",
        "[0, 1.0]",
        ["label_fractions.0", "is 0", "greater than 0"],
        "label_fractions",
    ),
    "fraction above 1": (
        "[0.5, 1.0]",
        "\n  - 0.5\n  - 1.5",
        ["label_fractions.1", "1.5", "less than or equal to 1"],
        "- 1.5",
    ),
    "fractions that do not ascend": (
        "[0.5, 1.0]",
        "[0.5, 0.1, 1.0]",
        ["label_fractions", "[0.5, 0.1, 1.0]", "ascend"],
        "label_fractions",
    ),
    "a fraction twice": ("[0.5, 1.0]", "[0.5, 0.5, 1.0]", ["label_fractions", "ascend"], "label_fractions"),
    "no full fraction": (
        "[0.5, 1.0]",
        "[0.1, 0.5]",
        ["label_fractions", "[0.1, 0.5]", "1.0"],
        "label_fractions",
    ),
    "no fraction": ("[0.5, 1.0]", "[]", ["label_fractions", "[]", "at least 1"], "label_fractions"),
    "no label per class": (
        "labels_per_class: []",
        "labels_per_class: [0, 5]",
        ["labels_per_class.0", "is 0", "greater than or equal to 1"],
        "labels_per_class",
    ),
    "half a label per class": (
        "labels_per_class: []",
        "labels_per_class: [2.5]",
        ["labels_per_class.0", "2.5", "integer"],
        "labels_per_class",
    ),
    "numbers per class that do not ascend": (
        "labels_per_class: []",
        "labels_per_class: [5, 1]",
        ["labels_per_class", "[5, 1]", "ascend"],
        "labels_per_class",
    ),
    "no trial": ("  trials: 20", "  trials: 0", ["tune.trials", "is 0", "greater than"], "trials: 0"),
    "an unknown judge": ("  judge: knn", "  judge: test", ["tune.judge", "knn", "linear"], "judge: test"),
    "a seed twice": ("seeds: [0]", "seeds: [3, 3]", ["seeds", "[3, 3]", "once"], "seeds"),
    "a seed that torch cannot take": (
        "seeds: [0]",
        "seeds: [4294967296]",
        ["seeds.0", "4294967296", "2147483648"],
        "seeds",
    ),
    "crop upside down": (
        "augmentation:\n  rotation_degrees: 0.0\n  vertical",
        "augmentation:\n  crop_scale: [0.9, 0.5]\n  vertical",
        ["augmentation.crop_scale", "[0.9, 0.5]", "smaller"],
        "crop_scale",
    ),
    "capitals in an id": ("  chest:", "  Chest_X:", ["datasets.Chest_X", "lower-case letters"], "  Chest_X:"),
    "a path for an id": (
        "  chest:",
        "  ../chest:",
        ["datasets.../chest", "lower-case letters"],
        "  ../chest:",
    ),
    "a number for an id": ("  chest:", "  2017:", ["2017", "not text"], "  2017:"),
    "a list for a key": ("  chest:", "  ? [a, b]\n  :", ["not text"], "  ? [a, b]"),
    "an id that YAML reads as true": ("  random-init:", "  true:", ["True", "not text"], "  true:"),
    "a folder of the suite's own": (
        "  chest:",
        "  inputs:",
        ["datasets.inputs", "results/inputs"],
        "  inputs:",
    ),
    "baseline not among the methods": (
        "baseline: moco",
        "baseline: simclr",
        ["report.baseline", "simclr", "random-init, moco, moco-barlow"],
        "simclr",
    ),
    "unknown source": (
        "source: phantom\n    kind: fundus",
        "source: imagenet\n    kind: fundus",
        ["datasets.fundus.source", '"imagenet"', "'medmnist'"],
        "imagenet",
    ),
    "no source": (
        "    source: phantom\n    kind: fundus",
        "    kind: fundus",
        ["datasets.fundus.source", "missing"],
        "  fundus:",
    ),
    "a data set named after its source": (
        "  chest:\n    source: phantom\n    kind: chest",
        "  phantom:\n    source: phantom\n    kind: arm",
        ["datasets.phantom.kind", '"arm"', "'chest'"],
        "kind: arm",
    ),
    "a key twice": ("seeds: [0]", "seeds: [0]\nseeds: [1]", ["duplicate key", "seeds"], "seeds: [1]"),
    "a tab": ("  epochs: 2\n", "\tepochs: 2\n", ["not YAML", "'\\t'"], "\tepochs"),
    "an open bracket": ("seeds: [0]", "seeds: [0", ["not YAML", "','"], "datasets:"),
    "an undefined alias": ("seeds: [0]", "seeds: *other", ["not YAML", "other"], "*other"),
    "two documents": ("seeds: [0]", "---\nseeds: [0]", ["not YAML", "another document"], "---"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_message_with_line_key_and_what_is_allowed(project: Path, tiny: str, mistake: str):
    old, new, words, marker = MISTAKES[mistake]
    assert tiny.count(old) == 1
    text = tiny.replace(old, new)
    (project / "params.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as error:
        read_protocol()
    message = str(error.value)
    assert [word for word in words if word not in message] == []
    if marker is None:
        assert message.startswith("params.yaml: ")
    else:
        line = next(n for n, content in enumerate(text.splitlines(), 1) if marker in content)
        assert f"params.yaml, line {line}: " in message


WHOLE_FILES = {
    "empty": (b"", "holds nothing"),
    "only comments": (b"# nothing\n", "holds nothing"),
    "a list": (b"- profile\n- seeds\n", "holds a list"),
    "a word": (b"demo\n", "holds a single value"),
    "latin-1": ("profile: t\n# naïve\n".encode("latin-1"), "line 2: not UTF-8"),
    "a zero byte": (b"profile: a\0b\n", "cannot be read"),
}


@pytest.mark.parametrize("content", WHOLE_FILES)
def test_a_file_that_is_no_protocol_is_one_message(project: Path, content: str):
    written, words = WHOLE_FILES[content]
    (project / "params.yaml").write_bytes(written)
    with pytest.raises(UserError, match=words) as error:
        read_protocol()
    assert str(error.value).startswith("params.yaml")


def test_a_missing_file_or_a_folder_in_its_place_says_so(project: Path):
    (project / "params.yaml").unlink()
    with pytest.raises(UserError, match=r"params\.yaml not found.*bench profile use demo"):
        read_protocol()
    (project / "params.yaml").mkdir()
    with pytest.raises(UserError, match=r"params\.yaml cannot be read"):
        read_protocol()


def test_stages_that_would_get_the_same_name_are_refused(project: Path, tiny: str):
    text = tiny.replace("  chest:", "  a:").replace("  fundus:", "  a-b:")
    text = text.replace("  random-init: {}", "  c: {}\n  b-c: {}")
    (project / "params.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as error:
        read_protocol()
    line = text.splitlines().index("  a-b:") + 1
    assert f"line {line}: datasets.a-b with method c" in str(error.value)
    assert "a with method b-c" in str(error.value)
    assert "the stage a-b-c" in str(error.value)


def test_every_mistake_is_named_at_once(project: Path, tiny: str):
    text = tiny.replace("epochs: 2\n", "epochs: 0\n").replace("width: 8", "width: 7")
    (project / "params.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as error:
        read_protocol()
    assert [
        "encoder.width" in line or "pretrain.epochs" in line for line in str(error.value).splitlines()
    ] == [True] * 2


def test_a_value_from_a_merged_section_is_refused_at_the_section(project: Path, tiny: str):
    text = tiny.replace("\naugmentation:\n", "\naugmentation: &views\n  hue: 0.9\n").replace(
        "finetune_augmentation:\n", "finetune_augmentation:\n  <<: *views\n"
    )
    (project / "params.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"finetune_augmentation\.hue is 0\.9"):
        read_protocol()


def test_line_ends_and_byte_order_marks_of_windows_are_read(project: Path, tiny: str):
    (project / "params.yaml").write_bytes(b"\xef\xbb\xbf" + tiny.replace("\n", "\r\n").encode())
    assert read_protocol().seeds == [0]


def test_methods_are_kept_as_written_and_flips_follow_the_data_set(project: Path):
    protocol = read_protocol()
    assert protocol.methods["random-init"] == {}
    assert list(protocol.methods) == list(read_params()["methods"])
    assert protocol.augmentation.vertical_flip == 0.5
    assert protocol.augmentation_of("chest").vertical_flip == 0.0
    assert protocol.augmentation_of("fundus") == protocol.augmentation
