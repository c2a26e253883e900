import hashlib

import medmnist as package
import numpy as np
import pytest
import torchvision

from imssl.datasets import medmnist
from imssl.datasets.prepare import prepare
from imssl.datasets.prepared import read_prepared
from imssl.datasets.source import NotThere
from imssl.errors import UserError


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Write a small npz and let the package's table of contents say that it is the published one."""

    def write(flag, labels, colour=True, suffix=""):
        generator = np.random.default_rng(0)
        arrays = {}
        for split, count in {"train": 6, "val": 3, "test": 4}.items():
            shape = (count, 28, 28, 3) if colour else (count, 28, 28)
            arrays[f"{split}_images"] = generator.integers(0, 256, shape, dtype=np.uint8)
            arrays[f"{split}_labels"] = labels[:count]
        file = tmp_path / f"{flag}{suffix}.npz"
        np.savez_compressed(file, **arrays)
        md5 = hashlib.md5(file.read_bytes()).hexdigest()
        monkeypatch.setitem(package.INFO, flag, package.INFO[flag] | {f"MD5{suffix}": md5})
        return file, arrays

    return write


@pytest.mark.parametrize(
    ("flag", "colour", "labels", "task"),
    [
        ("chestmnist", False, np.eye(14, dtype=np.uint8), "multilabel"),
        ("breastmnist", False, np.array([[0], [1]] * 3, dtype=np.uint8), "binary"),
        ("bloodmnist", True, np.arange(6, dtype=np.uint8)[:, None], "multiclass"),
        ("retinamnist", True, np.array([[0], [4], [2], [1], [3], [0]], dtype=np.uint8), "ordinal"),
    ],
)
def test_every_kind_of_task_is_read(tmp_path, publish, flag, colour, labels, task):
    _, arrays = publish(flag, labels, colour)
    source = medmnist.source(flag, 28, tmp_path)
    assert source.task == task
    assert len(source.classes) == len(package.INFO[flag]["label"])
    prepare(
        source, name=flag, size=28, channels=3, split_seed=0, on_bad_image="error", folder=tmp_path / "out"
    )
    prepared = read_prepared(tmp_path / "out")
    for split in ("train", "val", "test"):
        rows = prepared.indices(split)
        images, expected = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        np.testing.assert_array_equal(
            prepared.images[rows], images if colour else np.repeat(images[..., None], 3, 3)
        )
        np.testing.assert_array_equal(
            prepared.labels()[rows], expected if task == "multilabel" else expected[:, 0]
        )
    assert not prepared.card.has_patients


def test_larger_sizes_have_their_own_file(tmp_path, publish):
    publish("retinamnist", np.zeros((6, 1), dtype=np.uint8), suffix="_64")
    assert "64x64" in medmnist.source("retinamnist", 64, tmp_path).origin


def test_another_file_under_the_name_is_refused(tmp_path, publish):
    file, _ = publish("retinamnist", np.zeros((6, 1), dtype=np.uint8))
    file.write_text("<html>Too many requests</html>")
    found = hashlib.md5(file.read_bytes()).hexdigest()
    expected = package.INFO["retinamnist"]["MD5"]
    with pytest.raises(UserError, match=f"its MD5 is {found}, expected {expected}"):
        medmnist.source("retinamnist", 28, tmp_path)


@pytest.mark.parametrize("flag", ["mnist", "organmnist3d"])
def test_unknown_and_three_dimensional_sets_are_refused(tmp_path, flag):
    with pytest.raises(UserError, match=r"It has bloodmnist, .*tissuemnist\.$"):
        medmnist.source(flag, 28, tmp_path)


def test_without_a_network_the_user_learns_what_to_fetch(tmp_path, monkeypatch):
    def no_network(url, root, filename, md5):
        raise OSError("Name or service not known")

    monkeypatch.setattr(torchvision.datasets.utils, "download_url", no_network)
    info = package.INFO["retinamnist"]
    with pytest.raises(UserError) as raised:
        medmnist.download(medmnist.published_file("retinamnist", 224, tmp_path / "raw"))
    for part in (
        "not known",
        info["url_224"],
        info["MD5_224"],
        str(tmp_path / "raw" / "retinamnist_224.npz"),
    ):
        assert part in str(raised.value)
    assert list((tmp_path / "raw").iterdir()) == []


def test_what_is_missing_is_downloaded(tmp_path, publish, monkeypatch):
    file, _ = publish("retinamnist", np.zeros((6, 1), dtype=np.uint8))
    content = file.read_bytes()

    def download(url, root, filename, md5):
        assert (url, md5) == (package.INFO["retinamnist"]["url"], package.INFO["retinamnist"]["MD5"])
        (tmp_path / "new" / root / filename).write_bytes(content)

    monkeypatch.setattr(torchvision.datasets.utils, "download_url", download)
    with pytest.raises(NotThere, match=package.INFO["retinamnist"]["MD5"]):
        medmnist.source("retinamnist", 28, tmp_path / "new")
    assert not (tmp_path / "new").exists(), "only download may download"
    medmnist.download(medmnist.published_file("retinamnist", 28, tmp_path / "new"))
    assert len(medmnist.source("retinamnist", 28, tmp_path / "new").samples) == 13
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["retinamnist.npz"]


def test_the_real_set(samples_folder, tmp_path):
    source = medmnist.source("retinamnist", 28, samples_folder)
    card = prepare(
        source, name="retina", size=28, channels=3, split_seed=0, on_bad_image="error", folder=tmp_path
    )
    assert [list(c.per_class.values()) for c in card.counts.values()] == [
        [486, 128, 206, 194, 66],
        [54, 12, 28, 20, 6],
        [174, 46, 92, 68, 20],
    ]
