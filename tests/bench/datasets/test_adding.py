"""bench add-dataset on folders and tables: what it suggests, asks for, and writes, whole or not at all."""

import io
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from bench.cli import app
from bench.protocol.protocol import read_protocol
from bench.stages import data
from imssl.datasets.files import NO_SUFFIX, NOT_READ
from imssl.datasets.prepared import read_prepared
from imssl.errors import UserError


def picture(seed: int, grey: bool = False) -> bytes:
    shape = (20, 24) if grey else (20, 24, 3)
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def write(folder: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def bench(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=True)


@pytest.fixture
def classes_in_folders(tmp_path):
    files = {
        f"{label}/p{n:02}_{label}.png": picture(seed + n, grey=True)
        for seed, label in ((0, "pneumonia"), (100, "normal"))
        for n in range(15)
    }
    return write(tmp_path / "chest xrays", files | {"readme.txt": "hello"})


def test_a_folder_a_class_becomes_a_row_and_prepared_images(project, classes_in_folders):
    before = Path("params.yaml").read_text()
    result = bench("add-dataset", classes_in_folders, "--patient-pattern", r"(?P<patient>p\d+)_")
    assert result.exit_code == 0, result.output
    assert "normal 15, pneumonia 15" in result.output
    assert "normal/p00_normal.png → p00" in result.output
    protocol = read_protocol()
    settings = protocol.datasets["chest-xrays"]
    assert (settings.source, settings.task, settings.classes) == ("folder", "binary", ["normal", "pneumonia"])
    assert (settings.channels, settings.size) == (1, 16)
    assert "dvc repro data@chest-xrays" in str(bench("preview", "chest-xrays").exception)
    # Every line that was there is there.
    assert set(before.splitlines()) <= set(Path("params.yaml").read_text().splitlines())
    data.run("chest-xrays", protocol)
    prepared = read_prepared(Path("data/chest-xrays"))
    assert len(prepared.images) == 30
    assert prepared.samples.groupby("patient")["split"].nunique().max() == 1
    listed = {row["id"]: row for row in json.loads(bench("datasets", "--json").output)}
    assert sum(listed["chest-xrays"]["images"].values()) == 30
    assert listed["chest-xrays"]["patients"] == 15
    assert bench("preview", "chest-xrays", "--images", 4).exit_code == 0
    page = Path(".bench/preview/chest-xrays.html").read_text()
    assert page.count("<img") == 12
    assert "http" not in page
    assert "normal; normal/p" in page
    with Image.open(".bench/preview/chest-xrays.png") as sheet:
        assert sheet.size[0] == 3 * (96 + 4)
    assert bench("remove-dataset", "chest-xrays").exit_code == 0
    assert Path("params.yaml").read_text() == before


def test_a_dry_run_writes_nothing(project, classes_in_folders):
    before = Path("params.yaml").read_bytes()
    told = json.loads(bench("add-dataset", classes_in_folders, "--dry-run", "--json").output)
    assert (told["written"], told["images"], told["patients"]) == (False, 30, None)
    assert told["unused"] == [
        {"reason": "is no image, and no table of this source", "count": 1, "first": ["readme.txt"]}
    ]
    assert Path("params.yaml").read_bytes() == before


def refused(*arguments) -> str:
    before = Path("params.yaml").read_bytes()
    result = bench("add-dataset", *arguments)
    assert isinstance(result.exception, UserError), result.output
    assert Path("params.yaml").read_bytes() == before
    return str(result.exception)


def test_what_is_not_clear_is_asked_for(project, classes_in_folders, tmp_path):
    assert "does not exist" in refused(tmp_path / "nowhere")
    assert "--name" in refused(classes_in_folders, "--name", "chest")  # tiny.yaml has it
    flat = write(tmp_path / "flat", {f"{n}.png": picture(n) for n in range(3)})
    assert "--classes" in refused(flat)
    empty = write(tmp_path / "texts", {"a.txt": "text"})
    assert "holds no images that can be read; it holds 1 .txt" in refused(empty)
    rows = write(
        tmp_path / "rows",
        {"a.csv": "file,x,y\n0.png,1,u\n1.png,2,v\n"} | {f"{n}.png": picture(n) for n in (0, 1)},
    )
    assert "--label-column" in refused(rows)
    write(rows, {"b.csv": "file,label\n0.png,1\n1.png,0\n"})
    assert "--table" in refused(rows)
    assert "size is 5000; input should be less than or equal to" in refused(
        classes_in_folders, "--size", "5000"
    )
    assert "no group called patient" in refused(classes_in_folders, "--patient-pattern", "p")


def test_what_cannot_be_used_stops_or_is_left_out(project, classes_in_folders):
    copy = (classes_in_folders / "normal" / "p00_normal.png").read_bytes()
    write(
        classes_in_folders,
        {"normal/copy.png": copy, "normal/broken.png": copy[:100], "stray.png": picture(7)},
    )
    assert "--on-bad-image skip" in refused(classes_in_folders, "--name", "mine")
    result = bench("add-dataset", classes_in_folders, "--name", "mine", "--on-bad-image", "skip")
    assert result.exit_code == 0, result.output
    protocol = read_protocol()
    data.run("mine", protocol)
    card = read_prepared(Path("data/mine")).card
    assert sum(entry.count for entry in card.skipped) == 3


def test_a_table_of_several_findings(project, tmp_path):
    rows = "Image Index,Finding Labels,Patient ID,Patient Gender\n" + "".join(
        f"{n}.png,{['No Finding', 'Mass', 'Mass|Edema', 'Edema'][n % 4]},{n // 2},{'FM'[n % 2]}\n"
        for n in range(24)
    )
    folder = write(tmp_path / "nih", {f"images/{n}.png": picture(n) for n in range(24)} | {"entry.csv": rows})
    result = bench("add-dataset", folder / "entry.csv", "--name", "findings")
    assert result.exit_code == 0, result.output
    settings = read_protocol().datasets["findings"]
    assert settings.task == "multilabel"
    assert settings.classes == ["Edema", "Mass"]
    assert (settings.separator, settings.no_finding) == ("|", "No Finding")
    assert (settings.patient_column, settings.attributes) == ("Patient ID", ["Patient Gender"])


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        (["0", "1", "2", "3"], "ordinal", ["0", "1", "2", "3"]),
        (["2.0", "0.0", "1.0"], "ordinal", ["0", "1", "2"]),
        (["malignant", "benign"], "binary", ["benign", "malignant"]),
        (["nv", "mel", "bkl"], "multiclass", ["bkl", "mel", "nv"]),
        (["10", "20", "30"], "multiclass", ["10", "20", "30"]),
    ],
)
def test_tasks_are_suspected_from_the_values(project, tmp_path, values, task, classes):
    rows = "image,dx\n" + "".join(f"{n},{values[n % len(values)]}\n" for n in range(12))
    folder = write(tmp_path / "t", {f"{n}.png": picture(n) for n in range(12)} | {"t.csv": rows})
    told = json.loads(bench("add-dataset", folder, "--dry-run", "--json").output)
    assert (told["row"]["task"], told["row"]["classes"]) == (task, classes)


def one_hot(more="", cell=""):
    """Three classes in columns of their own, and what every row ends with."""
    rows = [[int(n % 3 == place) for place in range(3)] for n in range(12)]
    lines = [f"ISIC_{n}," + ",".join(f"{mark}.0" for mark in row) + cell for n, row in enumerate(rows)]
    return f"image,MEL,NV,BCC{more}\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("table", "task", "attributes"),
    [
        (one_hot(), "multiclass", []),
        (one_hot(",lesion_id,sex", ",L1,male"), "multiclass", ["sex"]),
        (one_hot().replace("ISIC_0,1.0,0.0", "ISIC_0,1.0,1.0"), "multilabel", []),
    ],
)
def test_columns_of_0_and_1_are_the_classes_where_nothing_else_can_be(
    project, tmp_path, table, task, attributes
):
    folder = write(tmp_path / "isic", {f"ISIC_{n}.png": picture(n) for n in range(12)} | {"t.csv": table})
    told = json.loads(bench("add-dataset", folder, "--dry-run", "--json").output)
    assert told["row"]["label_columns"] == told["row"]["classes"] == ["MEL", "NV", "BCC"]
    assert (told["row"]["task"], told["row"].get("attributes", [])) == (task, attributes)


def test_columns_of_0_and_1_beside_others_are_proposed_as_a_command(project, tmp_path):
    table = one_hot(",thickness", ",0.7")
    folder = write(tmp_path / "my isic", {f"ISIC_{n}.png": picture(n) for n in range(12)} | {"t.csv": table})
    command = f"bench add-dataset '{folder}' --label-column MEL --label-column NV --label-column BCC"
    assert refused(folder).endswith(command)
    assert bench(*shlex.split(command)[1:]).exit_code == 0


def deep_grey(seed: int, bits: int) -> bytes:
    values = np.random.default_rng(seed).integers(2 ** (bits - 1), 2**bits, (20, 24)).astype(np.uint16)
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_greys_of_sixteen_bits_get_the_window_of_the_depth_that_all_need(project, tmp_path, bits):
    """A dark image among them must stay dark, so the window is not each image's own."""
    files = {f"{label}/{n}.png": deep_grey(100 * ord(label) + n, bits) for label in "ab" for n in range(10)}
    dark = np.full((20, 24), 2 ** (bits - 2), dtype=np.uint16)
    stream = io.BytesIO()
    Image.fromarray(dark).save(stream, "PNG")
    folder = write(tmp_path / "deep", files | {"a/dark.png": stream.getvalue()})
    result = bench("add-dataset", folder, "--fit", "stretch")
    assert result.exit_code == 0, result.output
    assert f"greys from 0 to {2**bits - 1}" in result.output
    assert read_protocol().datasets["deep"].window == (0, 2**bits - 1)
    data.run("deep", read_protocol())
    prepared = read_prepared(Path("data/deep"))
    row = prepared.samples["id"].tolist().index("a/dark.png")
    assert np.abs(prepared.images[row].astype(float) - 255 * 2 ** (bits - 2) / (2**bits - 1)).max() <= 1


def test_what_was_found_is_shown_before_what_is_refused(project, tmp_path):
    files = {f"{n}.png": picture(n) for n in range(12)}
    labels = "file,a,b\n" + "".join(f"{n}.png,x{n},y{n}\n" for n in range(12))
    unclear = bench("add-dataset", write(tmp_path / "unclear", files | {"labels.csv": labels}))
    assert isinstance(unclear.exception, UserError)
    assert "which column holds the labels is not clear" in str(unclear.exception)
    assert "24 x 20 (12), of 12 images looked at" in unclear.output
    files = {
        f"{split}/{label}/p{n}_{split}.png": picture(100 * ord(split[1]) + 10 * ord(label) + n)
        for split in ("train", "val", "test")
        for label in "xy"
        for n in range(4)
    }
    two_splits = bench(
        "add-dataset", write(tmp_path / "leak", files), "--patient-pattern", r"(?P<patient>p\d+)_"
    )
    assert "--splits drawn" in str(two_splits.exception)
    assert "4, with 6 usable images each" in two_splits.output
    assert "train 8, val 8, test 8" in two_splits.output
    assert set(read_protocol().datasets) == {"chest", "fundus"}


def test_images_of_other_kinds_do_not_go_through(project, tmp_path, classes_in_folders):
    image = classes_in_folders / "normal" / "p00_normal.png"
    image.rename(image.with_suffix(".gif"))
    suffixless = classes_in_folders / "normal" / "p01_normal.png"
    suffixless.rename(suffixless.with_suffix(""))
    assert "--on-bad-image skip" in refused(classes_in_folders)
    told = json.loads(
        bench("add-dataset", classes_in_folders, "--on-bad-image", "skip", "--dry-run", "--json").output
    )
    assert told["images"] == 28
    assert {(entry["reason"], entry["first"][0]) for entry in told["unusable"]} == {
        (NOT_READ, "normal/p00_normal.gif"),
        (NO_SUFFIX, "normal/p01_normal"),
    }
    only = write(tmp_path / "only", {"a/1.jp2": b"", "b/2.jp2": b""})
    assert f"2: {NOT_READ}: a/1.jp2, b/2.jp2" in refused(only)
    zips = write(tmp_path / "zips", {"one.zip": b"", "two.zip": b""})
    assert "give one zip, or unpack them" in refused(zips)


def test_what_the_stage_would_refuse_is_not_entered(project, tmp_path):
    rows = "image,dx,localization\n" + "".join(f"{n},{'ab'[n % 2]},back\n" for n in range(12))
    files = {f"{n}.png": picture(n) for n in range(12)}
    folder = write(tmp_path / "skin", files | {"t.csv": rows})
    message = refused(folder, "--split-by", "localization")
    assert "at least as many groups of localization and patient, but there are only 1" in message
    assert "without --split-by" in message
    assert "of other patients" not in message
    two = write(tmp_path / "two", {f"{label}/{label}.png": picture(ord(label)) for label in "ab"})
    assert "3 splits need at least as many patients" in refused(two)
    splits = {f"{split}/{label}/1.png": b"" for split in ("train", "val", "test") for label in "ab"}
    splits = {name: picture(n) for n, name in enumerate(splits)} | {"test/a/1.png": b"", "test/b/1.png": b""}
    assert "no usable images in the split test" in refused(
        write(tmp_path / "no-test", splits), "--on-bad-image", "skip"
    )


def test_only_usable_images_are_counted_and_empty_classes_are_told(project, classes_in_folders):
    copy = (classes_in_folders / "normal" / "p00_normal.png").read_bytes()
    write(classes_in_folders, {"normal/z_copy.png": copy, "pneumonia/p00_pneumonia.png": b"no image"})
    told = json.loads(
        bench(
            "add-dataset", classes_in_folders, "--classes", "normal,pneumonia,flu", "--task", "multiclass",
            "--on-bad-image", "skip", "--dry-run", "--json",
        ).output
    )  # fmt: skip
    assert told["images"] == 29
    assert told["classes"] == {"normal": 15, "pneumonia": 14, "flu": 0}
    assert "No usable image has the class flu" in told["warnings"][0]


def test_a_folder_of_images_that_are_none_is_refused(project, tmp_path):
    files = {f"{label}/{n}.png": b"none" for label in "ab" for n in range(3)}
    message = refused(write(tmp_path / "none", files), "--on-bad-image", "skip")
    assert "6 images or rows cannot be used" in message


def test_a_parquet_file_of_plain_bytes(project, tmp_path):
    """As pandas and pyarrow write it: no note says that the bytes are images."""
    pytest.importorskip("datasets")
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    pictures = [picture(n, grey=True) for n in range(30)]
    for column in (pictures, [{"bytes": content, "path": f"{n}.png"} for n, content in enumerate(pictures)]):
        folder = tmp_path / type(column[0]).__name__
        folder.mkdir()
        rows = {"scan": column, "label": [n % 3 for n in range(30)], "patient": [f"p{n}" for n in range(30)]}
        parquet.write_table(pyarrow.table(rows), folder / "scans.parquet")
        result = bench("add-dataset", folder)
        assert result.exit_code == 0, result.output
        assert "24 x 20 (30), of 30 images looked at" in result.output
        settings = read_protocol().datasets[folder.name]
        assert (settings.image_column, settings.task, settings.channels) == ("scan", "ordinal", 1)
        data.run(folder.name, read_protocol())
        assert len(read_prepared(Path("data") / folder.name).images) == 30


def test_an_imagefolder_leaves_nothing_out_without_a_word(project, tmp_path):
    pytest.importorskip("datasets")
    rows = "file_name,label\n" + "".join(f"{n}.png,{'ab'[n % 2]}\n" for n in range(20))
    files = {f"{n}.png": picture(n) for n in range(21)} | {"metadata.csv": rows, "notes.txt": "hello"}
    folder = write(tmp_path / "hub", files)
    told = json.loads(bench("add-dataset", folder, "--json", "--dry-run", "--on-bad-image", "skip").output)
    assert told["row"]["source"] == "huggingface"
    assert [(entry["reason"], entry["first"]) for entry in told["unusable"]] == [("has no row", ["20.png"])]
    assert [entry["first"] for entry in told["unused"]] == [["notes.txt"]]


def test_a_table_that_is_only_called_metadata(project, tmp_path):
    rows = "image_id,dx\n" + "".join(f"{n},{'ab'[n % 2]}\n" for n in range(20))
    folder = write(tmp_path / "isic", {f"{n}.png": picture(n) for n in range(20)} | {"metadata.csv": rows})
    told = json.loads(bench("add-dataset", folder, "--json", "--dry-run").output)
    assert (told["row"]["source"], told["row"]["table"], told["images"]) == ("table", "metadata.csv", 20)
