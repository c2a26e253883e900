"""Wrong data sets: each is one message with place and remedy, exit status 2, and nothing is left behind."""

import errno
import hashlib
import io
import json
import os
import stat
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path

import medmnist as package
import numpy as np
import pytest
from PIL import Image

import imssl.datasets.archive
from bench.launch.run_stage import run_stage

TINY = (Path(__file__).parents[2] / "bench" / "tiny.yaml").read_text(encoding="utf-8")
PHANTOM = "source: phantom\n    kind: chest\n    patients: 30\n    seed: 1"
IDC = [f"{patient}/{label}/{patient}_{label}.png" for patient in range(10, 22) for label in (0, 1)]
EYES = [f"{patient}_{eye}" for patient in range(1, 9) for eye in ("left", "right")]
XRAYS = [f"{patient:08d}_000" for patient in range(1, 9)]


@pytest.fixture
def prepare(tmp_path, monkeypatch, capsys):
    """Run the stage ``data`` on a source; its status, and what it printed on standard error."""
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)

    def run(settings: str, on_bad_image: str = "error") -> tuple[int, str]:
        text = TINY.replace(PHANTOM, f"{settings}\n    on_bad_image: {on_bad_image}")
        Path("params.yaml").write_text(text, encoding="utf-8")
        status = run_stage(["data", "chest"])
        return status, capsys.readouterr().err

    return run


def assert_refused(ended: tuple[int, str], *words: str) -> None:
    status, message = ended
    assert status == 2, message
    assert message.startswith("error: ")
    assert [word for word in words if word not in message] == []
    assert "Traceback" not in message
    assert not [path for path in Path("data").rglob("*") if path.is_file()]
    assert sorted(path.name for path in Path().iterdir() if path.name[0] != ".") in (
        ["params.yaml"],
        ["data", "params.yaml"],
    )


@pytest.fixture
def images(png):
    """PNG files of random pixels by name, each another picture."""

    def make(names):
        return {name: png(i, mode="L") for i, name in enumerate(names)}

    return make


@pytest.fixture
def nih(images):
    rows = "".join(f"{id}.png,No Finding,{int(id[:8])}\n" for id in XRAYS)
    table = {"Data_Entry_2017.csv": f"Image Index,Finding Labels,Patient ID\n{rows}"}
    return images(f"images/{id}.png" for id in XRAYS) | table


@pytest.fixture
def eyepacs(images):
    table = "image,level\n" + "".join(f"{eye},{i % 5}\n" for i, eye in enumerate(EYES))
    return images(f"train/{eye}.png" for eye in EYES) | {"trainLabels.csv": table}


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that claims side x side pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def image_of(mode: str, kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((9, 9), 0.5, dtype=np.float32)).convert(mode).save(stream, kind)
    return stream.getvalue()


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


# name: (what becomes of the bytes of one image, words of the message)
IMAGES = {
    "empty": (lambda content: b"", "the file is empty"),
    "truncated": (lambda content: content[: len(content) // 2], "not a readable image"),
    "without its end": (lambda content: content[:-12], "not a readable image"),
    "a bit flipped": (flipped, "not a readable image"),
    "a page of HTML": (lambda content: b"<!DOCTYPE html><html>404</html>", "unknown format"),
    "a pickle": (lambda content: b"\x80\x04\x95\x05\x00\x00\x00", "unknown format"),
    "an SVG": (lambda content: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unknown format"),
    "a bomb": (lambda content: bomb(60_000), "too many pixels"),
    "a small bomb": (lambda content: bomb(10_000), "too many"),
    "no pixels": (lambda content: bomb(0), "not a readable image"),
    "zeros": (lambda content: b"\0" * 500, "unknown format"),
    "floating point": (lambda content: image_of("F", "TIFF"), "no known range"),
    "a zip": (lambda content: b"PK\x05\x06" + b"\0" * 18, "unknown format"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("case", IMAGES)
def test_a_bad_image_is_named(prepare, tmp_path, write_tree, images, case):
    change, words = IMAGES[case]
    files = images(IDC)
    name = IDC[7]
    kind = "tree.zip" if len(case) % 2 else "tree"
    path = write_tree(tmp_path / kind, files | {name: change(files[name])})
    assert_refused(prepare(f"source: idc\n    path: {path}"), name, words, "on_bad_image: skip")


def test_two_equal_images_and_an_image_of_one_pixel(prepare, tmp_path, write_tree, images, png):
    files = images(IDC)
    path = write_tree(tmp_path / "equal", files | {IDC[3]: files[IDC[2]]})
    assert_refused(prepare(f"source: idc\n    path: {path}"), "has the same pixels as")
    # One pixel is an image; two of them that are equal are not two.
    path = write_tree(tmp_path / "one", files | {IDC[0]: png(100, 1, 1, "L")})
    assert prepare(f"source: idc\n    path: {path}")[0] == 0


def nih_with(table_or_list: dict[str, str]):
    return lambda files: files | table_or_list


def without(*parts: str):
    return lambda files: {name: content for name, content in files.items() if not name.endswith(parts)}


def replaced(name: str, old: str, new: str):
    def change(files):
        assert old in files[name]
        return files | {name: files[name].replace(old, new)}

    return change


TABLE = "Data_Entry_2017.csv"
X1, X2 = f"{XRAYS[0]}.png", f"{XRAYS[1]}.png"
NIH = {
    "nothing": (lambda files: {"readme.txt": ""}, ["not laid out as expected", "Data_Entry_2017.csv"]),
    "no table": (without(TABLE), ["not laid out as expected", "Data_Entry_2017.csv"]),
    "no images": (without(".png"), ["not laid out as expected"]),
    "an empty table": (nih_with({TABLE: ""}), [TABLE, "not a CSV file"]),
    "a table of a header": (nih_with({TABLE: "Image Index,Finding Labels,Patient ID\n"}), ["no row"]),
    "a table without patients": (replaced(TABLE, "Patient ID", "Person"), [TABLE, "lacks the column"]),
    "a table of bytes": (nih_with({TABLE: "\0\1\2"}), [TABLE]),
    "a table with open quotes": (replaced(TABLE, f"{X1},No", f'{X1},"No'), [TABLE, "not a CSV file"]),
    "an unknown finding": (replaced(TABLE, f"{X1},No Finding", f"{X1},Flu"), [X1, "unknown finding 'Flu'"]),
    "no patient": (replaced(TABLE, f"{X1},No Finding,1\n", f"{X1},No Finding,\n"), [X1, "no patient id"]),
    "a row twice": (
        replaced(TABLE, f"{X1},No Finding,1\n", f"{X1},No Finding,1\n" * 2),
        [X1, "duplicate id"],
    ),
    "a row without an image": (without(X1), [X1, "no image file"]),
    "an image without a row": (replaced(TABLE, f"{X1},No Finding,1\n", ""), [X1, "no row"]),
    "an image twice": (lambda files: files | {f"images_2/{X1}": b"other"}, [X1, "duplicate id"]),
    "a list alone": (nih_with({"train_list.txt": X1}), ["only train_list.txt"]),
    "an image in two lists": (
        nih_with({"train_list.txt": X1, "val_list.txt": X1, "test_list.txt": X2}),
        ["in the split lists of both train and val"],
    ),
    "a patient in two splits": (
        lambda files: (
            replaced(TABLE, f"{X2},No Finding,2\n", f"{X2},No Finding,1\n")(files)
            | {"train_val_list.txt": "\n".join(f"{id}.png" for id in XRAYS[:1] + XRAYS[2:])}
            | {"test_list.txt": X2}
        ),
        ["more than one split: 1"],
    ),
    "a list of images that are not there": (
        nih_with(
            {
                "train_val_list.txt": "\n".join([f"{id}.png" for id in XRAYS[1:]] + ["none.png"]),
                "test_list.txt": X1,
            }
        ),
        ["none.png", "has no row"],
    ),
    "an image in no list": (
        nih_with({"train_val_list.txt": "\n".join(f"{id}.png" for id in XRAYS[2:]), "test_list.txt": X1}),
        [X2, "in no split list"],
    ),
    "no test images": (
        nih_with({"train_val_list.txt": "\n".join(f"{id}.png" for id in XRAYS), "test_list.txt": "\n"}),
        ["split test"],
    ),
    "two patients": (
        lambda files: (
            {name: files[name] for name in (f"images/{X1}", f"images/{X2}")}
            | {TABLE: f"Image Index,Finding Labels,Patient ID\n{X1},No Finding,1\n{X2},No Finding,2\n"}
        ),
        ["3 splits need at least as many patients", "there are only 2"],
    ),
    "one image": (
        lambda files: (
            {f"images/{X1}": files[f"images/{X1}"]}
            | {TABLE: f"Image Index,Finding Labels,Patient ID\n{X1},No Finding,1\n"}
        ),
        ["3 splits need at least as many patients", "there are only 1"],
    ),
}


@pytest.mark.parametrize("case", NIH)
def test_a_wrong_chest_xray14_is_refused(prepare, tmp_path, write_tree, nih, case):
    change, words = NIH[case]
    path = write_tree(tmp_path / "nih", change(nih))
    assert_refused(prepare(f"source: nih\n    path: {path}"), *words)


LABELS = "trainLabels.csv"
EYEPACS = {
    "a grade out of range": (replaced(LABELS, "1_left,0", "1_left,5"), ["1_left", "grade '5'"]),
    "a negative grade": (replaced(LABELS, "1_left,0", "1_left,-1"), ["1_left", "grade '-1'"]),
    "a grade of half": (replaced(LABELS, "1_left,0", "1_left,0.5"), ["1_left", "grade '0.5'"]),
    "no grade": (replaced(LABELS, "1_left,0", "1_left,"), ["1_left", "grade ''"]),
    "a third eye": (replaced(LABELS, "1_left,0", "1_middle,0"), ["1_middle", "_left or _right"]),
    "an eye twice": (replaced(LABELS, "1_left,0", "1_left,0\n1_left,1"), ["1_left", "duplicate id"]),
    "no level": (replaced(LABELS, "level", "grade"), [LABELS, "lacks the column level"]),
    "no table": (without(LABELS), ["not laid out as expected", LABELS]),
}


@pytest.mark.parametrize("case", EYEPACS)
def test_a_wrong_eyepacs_is_refused(prepare, tmp_path, write_tree, eyepacs, case):
    change, words = EYEPACS[case]
    path = write_tree(tmp_path / "eyes", change(eyepacs))
    assert_refused(prepare(f"source: eyepacs\n    path: {path}\n    grading: five"), *words)


SPLIT_FILES = {
    "empty": ("", "not a CSV file"),
    "only a header": ("patient_id,split\n", "lists no patients"),
    "without splits": ("patient_id\n10\n", "lacks the column split"),
    "an unknown split": ("patient_id,split\n10,dev\n", "line 2: unknown split 'dev'"),
    "a patient in two splits": ("patient_id,split\n10,train\n10,test\n", "line 3: patient 10 is in train"),
    "patients that are not there": ("patient_id,split\n99,train\n98,val\n97,test\n", "its patient is not in"),
    "not text": ("patient_id,split\n\udcff,train\n", "line 2: not text in UTF-8"),
}


@pytest.mark.parametrize("case", SPLIT_FILES)
def test_a_wrong_split_file_is_refused(prepare, tmp_path, write_tree, images, case):
    text, words = SPLIT_FILES[case]
    path = write_tree(tmp_path / "idc", images(IDC))
    split = tmp_path / "split.csv"
    split.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert_refused(prepare(f"source: idc\n    path: {path}\n    split_file: {split}"), words, "split")


def test_paths_that_are_not_data_are_refused(prepare, tmp_path, write_tree, images):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.zip").write_text("not a zip")
    whole = write_tree(tmp_path / "whole.zip", images(IDC)).read_bytes()
    (tmp_path / "torn.zip").write_bytes(whole[: len(whole) // 2])
    for name, words in {
        "empty": "not laid out as expected",
        "file.zip": "not a readable zip archive",
        "torn.zip": "not a readable zip archive",
        "none": "does not exist",
        "split.csv/none": "does not exist",
    }.items():
        assert_refused(prepare(f"source: idc\n    path: {tmp_path / name}"), str(tmp_path / name), words)
    path = write_tree(tmp_path / "idc", images(IDC))
    for split in ("none.csv", "idc"):
        settings = f"source: idc\n    path: {path}\n    split_file: {tmp_path / split}"
        assert_refused(prepare(settings), str(tmp_path / split), "cannot be read")


def test_names_and_links_that_lead_out_are_not_followed(prepare, tmp_path, write_tree, images):
    files = images(IDC)
    outside = write_tree(tmp_path / "outside", {"x.png": files[IDC[0]]})
    root = write_tree(tmp_path / "idc", dict(list(files.items())[1:]))
    (root / IDC[0]).parent.mkdir(parents=True, exist_ok=True)
    (root / IDC[0]).symlink_to(outside / "x.png")
    assert_refused(
        prepare(f"source: idc\n    path: {root}"),
        IDC[0],
        "link to a place outside the folder",
        "follow_links",
    )
    link = zipfile.ZipInfo("10/1/link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive_path = write_tree(tmp_path / "slip.zip", files)
    with zipfile.ZipFile(archive_path, "a") as archive:
        archive.writestr("../../10/1/up.png", files[IDC[0]])
        archive.writestr("/10/1/root.png", files[IDC[0]])
        archive.writestr(link, "/etc/passwd")
    ended = prepare(f"source: idc\n    path: {archive_path}")
    assert_refused(ended, "up.png: its name leads out of the archive", "link.png: is a link")
    assert not list(tmp_path.rglob("up.png"))
    assert not Path("/10").exists()


def test_an_archive_that_unpacks_to_far_more_than_it_is_is_refused(
    prepare, tmp_path, write_tree, images, monkeypatch
):
    monkeypatch.setattr(imssl.datasets.archive, "MOST_BYTES", 2**22)
    path = write_tree(tmp_path / "bomb.zip", images(IDC))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("10/1/b.png", "w") as file:
        file.write(bytes(2**22 + 1))
    assert path.stat().st_size < 2**16
    assert_refused(prepare(f"source: idc\n    path: {path}"), "10/1/b.png", "too large")


def test_names_that_are_not_ascii_are_names_like_others(prepare, tmp_path, write_tree, images):
    names = [name.replace("/1/", "/1/Ü ñ 图 ") for name in IDC]
    path = write_tree(tmp_path / "größe", images(name.replace("10/", "患者/") for name in IDC))
    assert prepare(f"source: idc\n    path: {path}")[0] == 0
    assert "患者" in Path("data/chest/samples.csv").read_text(encoding="utf-8")
    path = write_tree(tmp_path / "größe.zip", images(names))
    assert prepare(f"source: idc\n    path: {path}")[0] == 0


def arrays(**changes) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    made = {}
    for split, count in {"train": 6, "val": 3, "test": 4}.items():
        made[f"{split}_images"] = draw.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        made[f"{split}_labels"] = np.arange(count, dtype=np.uint8)[:, None] % 2
    made |= changes
    return {name: array for name, array in made.items() if array is not None}


PICKLED = np.array([object()] * 6, dtype=object)
NPZ = {
    "no test labels": (arrays(test_labels=None), "test_labels"),
    "no images": (arrays(train_images=None), "train_images"),
    "fewer labels than images": (arrays(train_labels=np.zeros((5, 1), np.uint8)), "train"),
    "labels out of range": (arrays(train_labels=np.full((6, 1), 9, np.uint8)), "labels outside"),
    "labels of text": (arrays(train_labels=np.array([["a"]] * 6)), "train_labels"),
    "floating images": (arrays(train_images=np.zeros((6, 28, 28))), "train_images"),
    "flat images": (arrays(train_images=np.zeros((6, 784), np.uint8)), "train_images"),
    "pickled labels": (arrays(train_labels=PICKLED), "Object arrays"),
    "pickled images": (arrays(train_images=PICKLED), "Python objects"),
}


@pytest.mark.parametrize("case", NPZ)
def test_a_wrong_npz_is_refused_even_if_it_were_the_published_one(prepare, tmp_path, monkeypatch, case):
    content, words = NPZ[case]
    file = tmp_path / "breastmnist.npz"
    np.savez(file, **content)
    md5 = hashlib.md5(file.read_bytes()).hexdigest()
    monkeypatch.setitem(package.INFO, "breastmnist", package.INFO["breastmnist"] | {"MD5": md5})
    settings = f"source: medmnist\n    flag: breastmnist\n    resolution: 28\n    path: {tmp_path}"
    assert_refused(prepare(settings), words)


def test_a_file_that_is_not_the_published_one_is_not_opened(prepare, tmp_path):
    np.savez(tmp_path / "breastmnist.npz", **arrays())
    settings = f"source: medmnist\n    flag: breastmnist\n    resolution: 28\n    path: {tmp_path}"
    assert_refused(prepare(settings), "breastmnist.npz", "MD5", "download it again")
    assert_refused(prepare(settings.replace("breast", "brain")), "no two-dimensional set 'brainmnist'")
    assert_refused(
        prepare(settings.replace("breast", "organ").replace("mnist\n", "mnist3d\n")), "params.yaml"
    )


def link_half(root, outside):
    """Move every second image of an IDC folder elsewhere, and leave a link to it."""
    outside.mkdir()
    for name in IDC[::2]:
        (root / name).rename(outside / Path(name).name)
        (root / name).symlink_to(outside / Path(name).name)


def test_an_image_is_one_whatever_the_case_and_format_of_its_suffix(prepare, tmp_path, write_tree, png):
    kinds = {".PNG": "PNG", ".Jpg": "JPEG", ".jpeg": "JPEG", ".TIF": "TIFF", ".bmp": "BMP", ".webp": "WEBP"}
    files = {}
    for number, name in enumerate(IDC):
        suffix, kind = list(kinds.items())[number % len(kinds)]
        files[name.replace(".png", suffix)] = png(number, mode="L", kind=kind)
    for kind in ("tree", "tree.zip"):
        assert prepare(f"source: idc\n    path: {write_tree(tmp_path / kind, files)}")[0] == 0
        card = json.loads(Path("data/chest/card.json").read_text())
        assert sum(count["samples"] for count in card["counts"].values()) == len(IDC)
        assert card["skipped"] == card["unused"] == []


def test_links_out_of_the_folder_are_refused_counted_or_followed(prepare, tmp_path, write_tree, images):
    root = write_tree(tmp_path / "idc", images(IDC))
    link_half(root, tmp_path / "cache")
    settings = f"source: idc\n    path: {root}"
    words = (f"{len(IDC) // 2} times: is a link to a place outside the folder", IDC[0], "follow_links")
    assert_refused(prepare(settings), *words)
    followed = settings + f"\n    follow_links: [{tmp_path / 'cache'}]"
    assert prepare(followed)[0] == 0
    assert json.loads(Path("data/chest/card.json").read_text())["skipped"] == []


def test_what_is_skipped_is_counted_in_the_card_and_listed_in_full(prepare, tmp_path, write_tree, images):
    root = write_tree(tmp_path / "idc", images(IDC) | {"readme.txt": "", "=cmd()/1/x/y.png": b""})
    link_half(root, tmp_path / "cache")
    (root / "40" / "1").mkdir(parents=True)
    os.mkfifo(root / "40" / "1" / "pipe.png")
    status, message = prepare(f"source: idc\n    path: {root}", on_bad_image="skip")
    assert status == 0, message
    card = json.loads(Path("data/chest/card.json").read_text())
    reasons = {entry["reason"]: (entry["count"], len(entry["first"])) for entry in card["skipped"]}
    assert reasons == {
        "is a link to a place outside the folder": (len(IDC) // 2, 5),
        "is a named pipe, not a file": (1, 1),
        "lies where this source has no images": (1, 1),
    }
    assert [(entry["reason"], entry["count"]) for entry in card["unused"]] == [
        ("is no image, and no table of this source", 1)
    ]
    rows = Path("data/chest/skipped.csv").read_text().splitlines()
    assert rows[0] == "file,reason,status"
    assert len(rows) == 1 + len(IDC) // 2 + 3
    assert "'=cmd()/1/x/y.png,lies where this source has no images,skipped" in rows
    assert 'readme.txt,"is no image, and no table of this source",unused' in rows


def test_a_second_copy_may_lie_there_but_not_with_other_pixels(prepare, tmp_path, write_tree, images, png):
    files = images(IDC)
    copies = {f"IDC_regular_ps50_idx5/{name}": content for name, content in files.items()}
    for kind in ("copies", "copies.zip"):
        assert prepare(f"source: idc\n    path: {write_tree(tmp_path / kind, files | copies)}")[0] == 0
        unused = json.loads(Path("data/chest/card.json").read_text())["unused"]
        assert [(entry["reason"], entry["count"]) for entry in unused] == [("is a copy", len(IDC))]
    other = f"IDC_regular_ps50_idx5/{IDC[4]}"
    path = write_tree(tmp_path / "other", files | copies | {other: png(77, mode="L")})
    status, message = prepare(f"source: idc\n    path: {path}")
    assert status == 2
    assert f"{IDC[4]}: there is a second file of it with other pixels: {other}" in message


def test_unknown_labels_are_one_line_a_value(prepare, tmp_path, write_tree, nih):
    table = nih[TABLE].replace("No Finding", "Pleural Thickening")
    path = write_tree(tmp_path / "nih", nih | {TABLE: table})
    ended = prepare(f"source: nih\n    path: {path}")
    words = "8 times: unknown finding 'Pleural Thickening' (did you mean 'Pleural_Thickening'?)"
    assert_refused(ended, words)
    assert len(ended[1].splitlines()) == 3


def test_a_split_list_may_have_more_on_its_lines_than_names(prepare, tmp_path, write_tree, nih):
    splits = {"train_val_list.txt": XRAYS[2:], "test_list.txt": XRAYS[:2]}
    lists = {
        name: "".join(f"{id}.png {' '.join('0' * 14)}\r\n" for id in ids).encode("utf-16")
        for name, ids in splits.items()
    }
    path = write_tree(tmp_path / "nih", nih | lists)
    status, message = prepare(f"source: nih\n    path: {path}")
    assert status == 0, message
    origin = json.loads(Path("data/chest/card.json").read_text())["split_origin"]
    assert "only the first word of each line is read (train_val_list.txt has more)" in origin


def test_a_trailing_comma_is_named_by_file_and_line(prepare, tmp_path, write_tree, nih):
    rows = nih[TABLE].replace("No Finding,1\n", "No Finding,1,\n")
    ended = prepare(f"source: nih\n    path: {write_tree(tmp_path / 'nih', nih | {TABLE: rows})}")
    assert_refused(ended, TABLE, "line 2: 4 cells", "They end with ','")
    assert "skip" not in ended[1]


def test_a_zip_from_windows_is_read_and_a_name_twice_is_reported(prepare, tmp_path, images):
    files = images(IDC)
    with zipfile.ZipFile(tmp_path / "windows.zip", "w") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.filename = name.replace("/", "\\")
            archive.writestr(entry, content)
    assert prepare(f"source: idc\n    path: {tmp_path / 'windows.zip'}")[0] == 0
    with zipfile.ZipFile(tmp_path / "windows.zip", "a") as archive:
        archive.writestr(IDC[3], files[IDC[2]])
    status, message = prepare(f"source: idc\n    path: {tmp_path / 'windows.zip'}")
    assert status == 2
    assert f"{IDC[3]}: occurs more than once in the archive" in message


def test_a_zip_that_claims_far_too_much_is_not_opened(prepare, tmp_path, images):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in images(IDC).items():
            archive.writestr(name, content)
    content = bytearray((tmp_path / "bomb.zip").read_bytes())
    directory = content.index(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = struct.pack("<I", 2**32 - 2)
    (tmp_path / "bomb.zip").write_bytes(content)
    ended = prepare(f"source: idc\n    path: {tmp_path / 'bomb.zip'}")
    assert_refused(ended, "bomb.zip", "when unpacked, more than 100 times as many")


def test_a_pipe_in_the_place_of_a_path_is_refused_and_not_waited_for(prepare, tmp_path, write_tree, images):
    os.mkfifo(tmp_path / "pipe")
    assert_refused(prepare(f"source: idc\n    path: {tmp_path / 'pipe'}"), "pipe is a named pipe, not a file")
    path = write_tree(tmp_path / "idc", images(IDC))
    ended = prepare(f"source: idc\n    path: {path}\n    split_file: {tmp_path / 'pipe'}")
    assert_refused(ended, "is a named pipe, not a file")


def test_params_that_are_a_pipe_are_refused_and_not_waited_for(prepare, capsys):
    os.mkfifo("params.yaml")
    assert run_stage(["data", "chest"]) == 2
    assert "params.yaml cannot be read: is a named pipe, not a file" in capsys.readouterr().err


def test_a_full_temporary_folder_is_no_fault_of_the_data(prepare, tmp_path, monkeypatch):
    file = tmp_path / "breastmnist.npz"
    np.savez(file, **arrays())
    info = package.INFO["breastmnist"] | {"MD5": hashlib.md5(file.read_bytes()).hexdigest()}
    monkeypatch.setitem(package.INFO, "breastmnist", info)

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "extract", full)
    ended = prepare(f"source: medmnist\n    flag: breastmnist\n    resolution: 28\n    path: {tmp_path}")
    assert_refused(ended, f"{tempfile.gettempdir()}: No space left on device", "TMPDIR")
    assert "download" not in ended[1]


def test_every_fit_gives_squares_and_only_pad_is_the_default(prepare, tmp_path, write_tree, png):
    root = write_tree(tmp_path / "idc", {name: png(i, 9, 14, "L") for i, name in enumerate(IDC)})
    contents = {}
    for fit in ("", "\n    fit: pad", "\n    fit: crop", "\n    fit: stretch"):
        assert prepare(f"source: idc\n    path: {root}{fit}")[0] == 0
        contents[fit] = Path("data/chest/images.npy").read_bytes()
    first, *others = contents.values()
    assert first == others[0]
    assert len(set(contents.values())) == 3
    status, message = prepare(f"source: idc\n    path: {root}\n    fit: squeeze")
    assert status == 2
    assert "datasets.chest.fit" in message
