import os
from pathlib import Path

import pytest

from imssl.datasets import kermany
from imssl.datasets.prepare import prepare
from imssl.errors import UserError

NAMES = (
    "train/NORMAL/IM-0115-0001.jpeg",
    "train/NORMAL/IM-0115-0001-0002.jpeg",
    "test/NORMAL/NORMAL2-IM-0115-0001.jpeg",
    "train/PNEUMONIA/person115_bacteria_3.jpeg",
    "test/PNEUMONIA/person115_virus_4.jpeg",
    "train/PNEUMONIA/person447_virus_921_1.jpeg",
)


@pytest.fixture
def tree(png):
    return {f"chest_xray/{name}": png(place) for place, name in enumerate(NAMES)}


@pytest.mark.parametrize("name", ["x-rays", "x-rays.zip"])
def test_class_and_patient_are_in_the_name(tmp_path, write_tree, tree, name):
    source = kermany.source(write_tree(tmp_path / name, tree))
    assert source.bad == []
    assert {(sample.id, sample.patient, kermany.CLASSES[sample.labels[0]]) for sample in source.samples} == {
        ("IM-0115-0001", "IM-0115", "normal"),
        ("IM-0115-0001-0002", "IM-0115", "normal"),
        ("NORMAL2-IM-0115-0001", "NORMAL2-IM-0115", "normal"),
        ("person115_bacteria_3", "person115", "bacterial"),
        ("person115_virus_4", "person115", "viral"),
        ("person447_virus_921_1", "person447", "viral"),
    }
    # One patient is in both folders of the owners, so their split is not used.
    assert {sample.split for sample in source.samples} == {""}


def test_the_copy_in_kaggles_archive_is_passed_over_unless_its_pixels_differ(tmp_path, write_tree, tree, png):
    copies = {f"chest_xray/{name}": content for name, content in tree.items()}
    source = kermany.source(write_tree(tmp_path / "same", tree | copies))
    assert (source.bad, len(source.samples), len(source.unused)) == ([], len(NAMES), len(NAMES))
    changed = dict.fromkeys(list(copies)[:1], png(99))
    source = kermany.source(write_tree(tmp_path / "other", tree | copies | changed))
    with pytest.raises(UserError, match="there is a second file of it with other pixels"):
        prepare(
            source, name="x", size=8, channels=1, split_seed=0, on_bad_image="error", folder=tmp_path / "out"
        )


@pytest.mark.parametrize(
    "name", ["train/NORMAL/person1_virus_2.jpeg", "train/PNEUMONIA/IM-0001-0001.jpeg", "val/NORMAL/a.jpeg"]
)
def test_a_name_that_does_not_fit_its_folder_is_bad(tmp_path, write_tree, tree, png, name):
    source = kermany.source(write_tree(tmp_path / "x-rays", tree | {f"chest_xray/{name}": png(50)}))
    assert [bad for bad, _ in source.bad] == [f"chest_xray/{name}"]
    assert len(source.samples) == len(NAMES)


def test_another_layout_is_refused(tmp_path, write_tree, png):
    with pytest.raises(UserError, match="chest-xray-pneumonia"):
        kermany.source(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"(?s)not laid out as expected.*NORMAL,PNEUMONIA"):
        kermany.source(write_tree(tmp_path / "flat", {"IM-0115-0001.jpeg": png(1)}))


def test_the_real_images():
    default = Path(__file__).parents[3].parent / "shared" / "data"
    path = Path(os.environ.get("IMSSL_DATA_DIR", default)) / "kermany-chest-xray-224px.zip"
    if not path.is_file():
        pytest.skip("no samples of real data here (IMSSL_DATA_DIR)")
    source = kermany.source(path)
    labels = [sample.labels[0] for sample in source.samples]
    assert source.bad == []
    assert [labels.count(label) for label in range(3)] == [1575, 2772, 1493]
    assert len({sample.patient for sample in source.samples}) == 3103
