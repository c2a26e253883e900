import pytest

from imssl.datasets import eyepacs
from imssl.datasets.prepare import prepare
from imssl.errors import UserError

LEVELS = {"10_left": 0, "10_right": 1, "13_left": 2, "13_right": 0, "15_left": 3, "15_right": 4}


def table(levels):
    return "image,level\n" + "".join(f"{image},{level}\n" for image, level in levels.items())


@pytest.fixture
def images(png):
    return {f"train/{name}.jpeg": png(i, 20, 30, kind="JPEG") for i, name in enumerate(LEVELS)}


@pytest.mark.parametrize("name", ["eyepacs", "eyepacs.zip"])
@pytest.mark.parametrize(
    ("grading", "expected"), [("five", [0, 1, 2, 0, 3, 4]), ("binary", [0, 0, 1, 0, 1, 1])]
)
def test_eyes_are_graded_and_belong_to_a_patient(tmp_path, write_tree, images, name, grading, expected):
    path = write_tree(tmp_path / name, images | {"trainLabels.csv": table(LEVELS)})
    source = eyepacs.source(path, grading)
    assert source.bad == []
    assert {s.id: s.labels[0] for s in source.samples} == dict(zip(LEVELS, expected, strict=True))
    assert {s.patient for s in source.samples} == {"10", "13", "15"}
    assert source.task == {"five": "ordinal", "binary": "binary"}[grading]
    assert source.primary_metric == {"five": "qwk", "binary": "auroc"}[grading]
    card = prepare(
        source, name="eyes", size=16, channels=3, split_seed=0, on_bad_image="error", folder=tmp_path / "out"
    )
    assert [counts.patients for counts in card.counts.values()] == [1, 1, 1]


def test_images_may_stay_in_their_archive(tmp_path, write_tree, images):
    root = write_tree(tmp_path / "eyepacs", {"trainLabels.csv": table(LEVELS)})
    write_tree(root / "train.zip", images)
    source = eyepacs.source(root, "five")
    assert len(source.samples) == 6
    assert source.read(source.samples[0]).shape == (20, 30, 3)
    assert set(source.inputs) == {"train.zip", "trainLabels.csv"}


def test_what_does_not_match_is_bad(tmp_path, write_tree, images, png):
    levels = LEVELS | {"16_left": 1, "17": 0, "18_left": 5}
    extra = {f"train/{name}.jpeg": png(50 + i) for i, name in enumerate(["18_left", "19_left"])}
    text = table(levels) + "10_left,4\n"
    path = write_tree(
        tmp_path / "e", images | extra | {"test/20_left.jpeg": png(60), "trainLabels.csv": text}
    )
    source = eyepacs.source(path, "five")
    assert dict(source.bad) == {
        "10_left": "duplicate id: it has a second row",
        "16_left": "it has a row, but no image file",
        "17": "it does not end with _left or _right",
        "18_left": "unknown grade '5' (known are 0, 1, 2, 3, 4)",
        "train/19_left.jpeg": "the image has no row",
    }
    assert len(source.samples) == 6
    assert dict(source.unused) == {
        "test/20_left.jpeg": "lies in a folder test, which trainLabels.csv does not grade"
    }
    assert {sample.attributes["eye"] for sample in source.samples} == {"left", "right"}


def test_kaggles_parts_are_explained(tmp_path, write_tree):
    path = write_tree(tmp_path / "e", {"train.zip.001": b"", "trainLabels.csv.zip": b""})
    with pytest.raises(UserError, match=r"(?s)parts must be joined.*Found:\n  train\.zip\.001"):
        eyepacs.source(path, "five")
