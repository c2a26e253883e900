"""Layouts of Hugging Face on disk, written as their users write them."""

import errno
import os

import pytest

from imssl.datasets import huggingface
from imssl.datasets.huggingface_files import is_layout, load
from imssl.datasets.images import decode
from imssl.datasets.sources import open_source
from imssl.errors import UserError
from imssl.settings.user_datasets import HuggingFaceSettings

datasets = pytest.importorskip("datasets", reason="needs: pip install 'imssl-bench[huggingface]'")

COMMON = {"size": 8, "channels": 3, "horizontal_flip": True, "vertical_flip": False}
LABELS = ["nv", "mel", "bkl"]


@pytest.fixture
def pictures(png):
    return [png(n) for n in range(12)]


def settings(path, **given):
    defaults = {"label_columns": ["label"], "task": "multiclass", "classes": LABELS, "patient_column": "who"}
    return HuggingFaceSettings(source="huggingface", path=str(path), **(COMMON | defaults | given))


def check(source, pictures):
    assert source.bad == []
    assert len(source.samples) == 12
    for sample in source.samples:
        number = int(sample.patient)
        assert sample.labels == (number % 3,)
        assert sample.split == ("train" if number < 8 else "test")
        assert (source.read(sample) == decode(pictures[number], "original")).all()


def test_an_imagefolder_with_metadata(tmp_path, write_tree, pictures):
    files = {}
    for split, numbers in (("train", range(8)), ("test", range(8, 12))):
        rows = "".join(f"{n}.png,{LABELS[n % 3]},{n}\n" for n in numbers)
        files[f"{split}/metadata.csv"] = "file_name,label,who\n" + rows
        files |= {f"{split}/{n}.png": pictures[n] for n in numbers}
    path = write_tree(tmp_path / "hf", files)
    assert is_layout(path)
    source = open_source(settings(path))
    check(source, pictures)
    assert {sample.id for sample in source.samples} >= {"train/0.png", "test/11.png"}


METADATA = "file_name,label,who\n" + "".join(f"{n}.png,{LABELS[n % 3]},{n}\n" for n in range(12))
CSV = {
    "a byte-order mark": (b"\xef\xbb\xbf" + METADATA.encode(), []),
    "lines of Windows": (METADATA.replace("\n", "\r\n").encode(), []),
    "a short row": (METADATA.replace("mel,1\n", "mel\n").encode(), ["line 3: 2 cells"]),
    "a trailing comma": (
        METADATA.replace("mel,1\n", "mel,1,\n").encode(),
        ["line 3: 4 cells", "end with ','"],
    ),
    "Latin-1": (METADATA.replace("bkl,2", "bkl,ü").encode("latin-1"), ["line 4: not text in UTF-8"]),
    "UTF-16": (METADATA.encode("utf-16"), ["reads UTF-8 with commas", "bench add-dataset"]),
    "semicolons": (METADATA.replace(",", ";").encode(), ["reads UTF-8 with commas", "bench add-dataset"]),
}


@pytest.mark.parametrize("case", CSV)
def test_metadata_is_read_as_every_table_is(tmp_path, write_tree, pictures, case):
    content, words = CSV[case]
    files = {f"{n}.png": picture for n, picture in enumerate(pictures)}
    path = write_tree(tmp_path / "hf", files | {"metadata.csv": content})
    if not words:
        assert len(open_source(settings(path)).samples) == 12
        return
    with pytest.raises(UserError) as refused:
        open_source(settings(path))
    assert [word for word in ["metadata.csv", *words] if word not in str(refused.value)] == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_metadata_that_is_a_pipe_is_not_waited_for(tmp_path, write_tree, pictures):
    path = write_tree(tmp_path / "hf", {"0.png": pictures[0]})
    os.mkfifo(path / "metadata.jsonl")
    assert not is_layout(path)
    (path / "metadata.jsonl").unlink()
    (path / "metadata.jsonl").write_bytes(b'\xef\xbb\xbf{"file_name": "0.png", "label": 1}\n')
    assert is_layout(path)


def test_a_full_temporary_disk_is_no_fault_of_the_data(tmp_path, monkeypatch):
    def fill(*arguments, **options):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise datasets.exceptions.DatasetGenerationError("an error occurred") from error

    monkeypatch.setattr(datasets, "load_dataset", fill)
    with pytest.raises(UserError, match=r"No space left on device\. Free some space there.*TMPDIR"):
        load(tmp_path)


@pytest.mark.parametrize("saved", ["parquet", "save_to_disk"])
def test_images_in_the_table_with_named_classes(tmp_path, pictures, saved):
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=LABELS),
            "who": datasets.Value("int64"),
        }
    )

    def part(numbers):
        rows = {
            "image": [{"bytes": pictures[n], "path": None} for n in numbers],
            "label": [n % 3 for n in numbers],
            "who": list(numbers),
        }
        return datasets.Dataset.from_dict(rows, features=features)

    parts = datasets.DatasetDict({"train": part(range(8)), "test": part(range(8, 12))})
    if saved == "parquet":
        (tmp_path / "data").mkdir()
        for name, table in parts.items():
            table.to_parquet(tmp_path / "data" / f"{name}-00000-of-00001.parquet")
    else:
        parts.save_to_disk(tmp_path / "data")
    assert is_layout(tmp_path / "data")
    check(open_source(settings(tmp_path / "data")), pictures)
    layout = huggingface.described(tmp_path / "data", None)
    assert (layout.image_column, layout.class_names) == ("image", {"label": LABELS})
