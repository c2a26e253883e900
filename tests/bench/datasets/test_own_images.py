"""Images of one's own, from add-dataset to the leaderboard, by real DVC and without any code."""

import csv
import io
import itertools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid
from sklearn.metrics import roc_auc_score

from imssl.datasets.prepared import read_prepared
from tests.bench.test_pipeline import ROOT, Project, project_in

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("git") is None, reason="needs git"),
    pytest.mark.skipif(
        not (ROOT / "dvc.yaml").exists(), reason="needs the project's folder, not only the package"
    ),
]

LESIONS = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
OWN = ("dicom", "skin", "xrays")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Two methods and images beside it; the tests run in order, each on what the one before left."""
    tiny = (ROOT / "tests" / "bench" / "tiny.yaml").read_text()
    two_methods = re.sub(r"  moco-barlow:\n(    .*\n)+", "", tiny)
    with project_in(tmp_path_factory.mktemp("own") / "project", two_methods) as project:
        write_xrays(raw(project, "xrays"))
        write_skin(raw(project, "skin"))
        write_dicom(raw(project, "dicom"))
        yield project


def raw(project: Project, name: str) -> Path:
    return project.folder.parent / "my images" / name


def pixels(seed: int) -> np.ndarray:
    """(24, 20) uint8: random, and brighter in one half of the seeds than in the other."""
    return (
        np.random.default_rng(seed)
        .integers(60 * (seed % 2), 200 + 50 * (seed % 2), (24, 20))
        .astype(np.uint8)
    )


def jpeg(seed: int, kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels(seed)).save(stream, kind)
    return stream.getvalue()


def put(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def write_xrays(folder: Path) -> None:
    """A folder a class, the patient in the name: two images of each of 40 patients."""
    for number in range(80):
        label = ("NORMAL", "PNEUMONIA")[number // 2 % 2]
        put(folder / label / f"person{number // 2}_view_{number % 2}.jpeg", jpeg(number))


def write_skin(folder: Path) -> None:
    """Seven classes in a table, with the lesion as the group: two images of each of 70 lesions."""
    rows = []
    for number in range(140):
        put(folder / "images" / f"ISIC_{number:07}.jpg", jpeg(1000 + number))
        lesion = number // 2
        sex = ("male", "female")[lesion % 2]
        rows.append((f"HAM_{lesion:07}", f"ISIC_{number:07}", LESIONS[lesion % 7], 30 + lesion, sex))
    with (folder / "HAM10000_metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("lesion_id", "image_id", "dx", "age", "sex"), *rows])


def write_dicom(folder: Path) -> None:
    """Scans of 120 patients of 10, 12, 14 and 16 bits, a third of them inverted, some without a suffix."""
    for number in range(240):
        bits, inverted = (10, 12, 14, 16)[number % 4], number % 3 == 0
        shown = pixels(5000 + number).astype(np.int64)
        stored = shown * (2**bits - 1) // 255
        scan = Dataset()
        scan.file_meta = FileMetaDataset()
        scan.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        scan.SOPClassUID = scan.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
        scan.SOPInstanceUID = scan.file_meta.MediaStorageSOPInstanceUID = generate_uid(
            entropy_srcs=[str(number)]
        )
        scan.PatientID, scan.PatientName = f"secret{number // 2}", "Doe^Jane"
        scan.PatientSex, scan.Modality = "FM"[number // 4 % 2], "DX"
        scan.Rows, scan.Columns, scan.SamplesPerPixel, scan.PixelRepresentation = *stored.shape, 1, 0
        scan.BitsAllocated, scan.BitsStored, scan.HighBit = 16, bits, bits - 1
        scan.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
        scan.WindowCenter, scan.WindowWidth = 2 ** (bits - 1), 2**bits
        if number == 7:
            scan.BurnedInAnnotation = "YES"
        stored = 2**bits - 1 - stored if inverted else stored
        scan.PixelData = stored.astype("<u2").tobytes()
        stream = io.BytesIO()
        scan.save_as(stream, enforce_file_format=True)
        suffix = "" if number % 5 == 0 else ".dcm"
        put(
            folder / ("finding" if number // 2 % 2 else "healthy") / f"IM{number:04}{suffix}",
            stream.getvalue(),
        )


def bench(project: Project, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return project.run(sys.executable, "-m", "bench", *map(str, arguments), COLUMNS="200")


def add(project: Project, *arguments: str | Path) -> str:
    added = bench(project, "add-dataset", *arguments, "--size", "16")
    assert added.returncode == 0, added.stdout
    return added.stdout


def data_sets_of(ran: set[str]) -> set[str]:
    """Of which data sets stages ran; those that belong to none of them are left out."""
    return {re.split("[@-]", name)[1] for name in ran if "@" in name}


def test_three_layouts_reach_a_leaderboard_without_code(project):
    said = add(project, raw(project, "xrays"), "--patient-pattern", r"(?P<patient>person\d+)_")
    assert "40, with 2 usable images each" in said
    assert "compute 20 cells: 2 methods, 1 seed, 2 label sets" in said
    said = add(project, raw(project, "skin"), "--patient-column", "lesion_id", "--attributes", "sex,age")
    assert "multiclass by column dx" in said
    assert ", ".join(f"{lesion} 20" for lesion in LESIONS) in said
    said = add(project, raw(project, "dicom"), "--attributes", "PatientSex")
    assert "DICOM, grey (240)" in said
    assert "Text is burned into the pixels of 1 of 240" in said
    for phantom in ("chest", "fundus"):
        assert bench(project, "remove-dataset", phantom).returncode == 0
    run = bench(project, "repro")
    assert run.returncode == 0, run.stdout[-5000:]
    assert "Text is burned into the pixels of 1 of 240" in run.stdout
    prepared = {name: read_prepared(project.folder / "data" / name) for name in OWN}
    assert {name: len(p.images) for name, p in prepared.items()} == {"xrays": 80, "skin": 140, "dicom": 240}
    for name, patients in (("xrays", 40), ("skin", 70), ("dicom", 120)):
        splits = prepared[name].samples.groupby("patient")["split"]
        assert len(splits) == patients
        assert splits.nunique().max() == 1
    cells = json.loads((project.folder / "reports" / "results.json").read_text())["cells"]
    assert [cell for cell in cells if cell["status"] != "done"] == []
    results = pd.read_csv(project.folder / "reports" / "results.csv")
    assert set(results["dataset"]) == set(OWN)
    assert results.query("evaluation == 'finetune' and method == 'moco'").groupby("dataset").size().min() > 0
    page = (project.folder / "reports" / "leaderboard.html").read_text()
    assert all(name in page for name in OWN)


def test_dicom_bits_and_inversion_leave_the_image_that_a_viewer_shows(project):
    prepared = read_prepared(project.folder / "data" / "dicom")
    for row, name in enumerate(prepared.samples["id"]):
        shown = pixels(5000 + int(re.search(r"IM(\d+)", name)[1]))
        padded = np.zeros((24, 24), dtype=np.uint8)
        padded[:, 2:22] = shown
        expected = np.asarray(Image.fromarray(padded).resize((16, 16), Image.Resampling.BICUBIC))
        assert np.abs(prepared.images[row, ..., 0].astype(int) - expected).max() <= 2, name


def test_no_patient_is_named_in_what_is_passed_on(project):
    for file in [*(project.folder / "data").rglob("*"), *(project.folder / "reports").rglob("*")]:
        if file.is_file():
            content = file.read_bytes()
            assert b"secret7" not in content, file
            assert b"Doe^" not in content, file


def test_attributes_become_subgroups(project):
    """The AUROC of each is that of scikit-learn on the images that were written with that sex."""
    results = json.loads((project.folder / "reports" / "results.json").read_text())
    told = {
        (row["evaluation"], row["method"], row["subgroup"]): row
        for row in results["subgroups"]
        if (row["dataset"], row["attribute"]) == ("dicom", "PatientSex")
    }
    for evaluation, method in itertools.product(("finetune", "frozen", "knn"), ("random-init", "moco")):
        cell = project.folder / "results" / "dicom" / evaluation / method / "seed-0" / "fraction-1"
        predictions = pd.read_csv(cell / "predictions.csv")
        number = predictions["id"].str.extract(r"IM(\d+)", expand=False).astype(int)
        for sex, rows in predictions.groupby(number.floordiv(4).mod(2).map({0: "F", 1: "M"})):
            row = told[evaluation, method, sex]
            assert (row["images"], row["patients"]) == (len(rows), rows["patient"].nunique())
            assert row["patients"] >= 10
            expected = roc_auc_score(rows["label"], rows["probability_finding"])
            assert row["value"] == pytest.approx(expected, abs=1e-9)
    page = (project.folder / "reports" / "datasets" / "dicom.html").read_text()
    assert "PatientSex" in page


def test_plain_dvc_repro_sees_each_change_of_a_raw_file_and_reruns_its_data_set_only(project):
    ran, _ = project.repro()
    assert ran <= {"inputs"}
    changed = raw(project, "xrays") / "NORMAL" / "person0_view_0.jpeg"
    steps = {
        "changed": lambda: changed.write_bytes(jpeg(9001)),
        "added": lambda: put(raw(project, "xrays") / "NORMAL" / "person99_view_0.jpeg", jpeg(9002)),
        "removed": changed.unlink,
    }
    for kind, step in steps.items():
        before = {file.name: file.read_bytes() for file in (project.folder / "data").rglob("images.npy")}
        step()
        ran, _ = project.repro()
        assert "data@xrays" in ran, kind
        assert data_sets_of(ran) == {"xrays"}, kind
        assert "report" in ran, kind
        assert before, kind
        told = json.loads(bench(project, "audit-data", "xrays", "--json").stdout)[0]["raw_files"]
        assert told is None, kind  # prepared anew, so nothing has changed since
    ran, _ = project.repro()
    assert ran <= {"inputs"}


@pytest.mark.parametrize("how", ["add", "import-url"])
def test_a_folder_that_dvc_versions_is_a_source(project, how):
    scans = project.folder / f"raw-{how}"
    if how == "add":
        write_xrays(scans)
        tracked = project.run(sys.executable, "-m", "dvc", "add", scans.name)
    else:
        tracked = project.run(
            sys.executable, "-m", "dvc", "import-url", str(raw(project, "xrays")), scans.name
        )
    assert tracked.returncode == 0, tracked.stdout
    assert (project.folder / f"{scans.name}.dvc").is_file()
    said = add(project, scans.name, "--patient-pattern", r"(?P<patient>person\d+)_")
    assert f"path            {scans.name}" in said
    prepared = project.run(sys.executable, "-m", "dvc", "repro", f"data@{scans.name}")
    assert prepared.returncode == 0, prepared.stdout
    images = len(list(scans.rglob("*.jpeg")))
    assert len(read_prepared(project.folder / "data" / scans.name).images) == images == 80


def test_links_into_the_cache_of_dvc_are_followed_where_that_is_said(project):
    dvc = (sys.executable, "-m", "dvc")
    assert project.run(*dvc, "config", "cache.type", "symlink").returncode == 0
    scans = project.folder / "raw-add"
    linked = project.run(*dvc, "checkout", "--relink", f"{scans.name}.dvc")
    assert linked.returncode == 0, linked.stdout
    assert all(file.is_symlink() for file in scans.rglob("*.jpeg"))
    refused = bench(project, "add-dataset", scans.name, "--name", "linked")
    assert refused.returncode == 2
    assert "--follow-links" in refused.stdout
    said = add(
        project, scans.name, "--name", "linked", "--follow-links", ".dvc/cache",
        "--patient-pattern", r"(?P<patient>person\d+)_",
    )  # fmt: skip
    assert "40, with 2 usable images each" in said
