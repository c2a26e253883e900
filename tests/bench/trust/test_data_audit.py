import hashlib
import io
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.cli import main


@pytest.fixture
def audit(prepared_project, monkeypatch, capsys):
    """Run `bench audit-data` and return the exit status and what it printed."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bench", "audit-data", *arguments])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def rewrite(samples: pd.DataFrame | None = None, images: np.ndarray | None = None) -> None:
    """Replace files of the prepared chest data set, checksums included."""
    folder = Path("data/chest")
    if samples is not None:
        samples.to_csv(folder / "samples.csv", index=False, lineterminator="\n")
    if images is not None:
        np.save(folder / "images.npy", images)
    card = json.loads((folder / "card.json").read_text())
    for name in card["checksums"]:
        card["checksums"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "card.json").write_text(json.dumps(card))


def samples() -> pd.DataFrame:
    return pd.read_csv("data/chest/samples.csv", dtype={"id": str, "patient": str})


def first_of(split: str) -> int:
    return int(np.flatnonzero(samples()["split"] == split)[0])


def test_clean_data_passes_and_is_counted(audit):
    status, out, err = audit("--json")
    assert (status, err) == (0, "")
    audits = {content["dataset"]: content for content in json.loads(out)}
    assert list(audits) == ["chest", "fundus"]
    assert audits["chest"]["findings"] == []
    assert audits["chest"]["image_shape"] == [16, 16, 1]
    table = samples()
    for content in audits["chest"]["contents"]:
        rows = table[table["split"] == content["split"]]
        assert content["images"] == len(rows)
        assert content["patients"] == rows["patient"].nunique()
        assert content["per_class"] == rows.drop(columns=["id", "patient", "split"]).sum().to_dict()
    status, out, _ = audit("chest")
    assert status == 0
    assert "16 x 16 pixels, 1 channel" in out
    assert "nothing crosses" in out


def test_a_patient_planted_in_two_splits_is_found(audit):
    table = samples()
    patient = table.loc[first_of("train"), "patient"]
    table.loc[first_of("test"), "patient"] = patient
    rewrite(samples=table)
    status, out, _ = audit("chest")
    assert status == 1
    assert "patient" in out
    assert patient in out
    assert "1 cross from one split to another" in out


def test_a_near_identical_image_planted_across_splits_is_found(audit):
    images = np.load("data/chest/images.npy")
    train, test = first_of("train"), first_of("test")
    stream = io.BytesIO()
    brighter = np.clip(images[train, :, :, 0].astype(int) + 9, 0, 255).astype(np.uint8)
    Image.fromarray(brighter).save(stream, "JPEG", quality=95)
    images[test, :, :, 0] = np.asarray(Image.open(stream))
    rewrite(images=images)
    status, out, _ = audit("chest", "--json")
    assert status == 1
    (finding,) = json.loads(out)[0]["findings"]
    assert finding["kind"] == "near-identical"
    assert sorted(finding["ids"]) == sorted(samples()["id"].iloc[[train, test]])
    assert sorted(finding["splits"]) == ["test", "train"]


def test_copies_inside_a_split_are_reported_and_are_no_leak(audit):
    images = np.load("data/chest/images.npy")
    first, second = np.flatnonzero(samples()["split"] == "train")[:2]
    images[second] = images[first]
    rewrite(images=images)
    status, out, _ = audit("chest")
    assert status == 0
    assert "train only" in out
    assert "nothing crosses" in out


def test_a_class_that_a_split_lacks_is_named(audit):
    table = samples()
    name = table.columns[-1]
    table.loc[table["split"] == "val", name] = 0
    rewrite(samples=table)
    assert f"no image of class {name} in val" in audit("chest")[1]


def test_mistakes_are_one_message(audit, prepared_project):
    assert audit("lungs")[0] == 2
    assert "there are: chest, fundus" in audit("lungs")[2]
    (prepared_project / "data/chest/images.npy").unlink()
    status, _, err = audit()
    assert status == 2
    assert "images.npy is damaged" in err
