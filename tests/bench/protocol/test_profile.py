import os
import re
import zipfile
from pathlib import Path

import pytest

from bench.cells.method_facts import method_facts
from bench.protocol.params_file import PROFILES, read_params
from bench.protocol.profile import PLACEHOLDER, find_data, profiles, use_profile
from bench.protocol.protocol import read_protocol
from imssl.errors import UserError

NAMES = ("demo", "small", "study-medmnist", "study", "medmnist", "paper")
COMPARED = ["random-init", "random-init-filled", "moco", "moco-mse", "moco-barlow"]
# What the published studies compare besides.
FURTHER = ["simclr", "vicreg", "supervised"]


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, with an empty folder for data in it."""
    (tmp_path / "given").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(file: Path, content: str = "") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return file


def test_the_profiles_say_what_they_are_from_quick_to_slow():
    assert tuple(profile.name for profile in profiles()) == NAMES
    for profile in profiles():
        assert all((profile.summary, profile.needs, profile.time))
        assert re.search(rf"^profile: {profile.name}$", profile.text, re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_is_a_protocol_whose_methods_load(empty, name):
    said = use_profile(name, Path("given"), force=False)
    assert f"params.yaml is now profile {name}." in said
    protocol = read_protocol()
    assert protocol.profile == name
    assert list(method_facts(protocol)) == COMPARED + (FURTHER if name.startswith("study") else [])
    assert PLACEHOLDER.search(Path("params.yaml").read_text()) is None


def test_only_the_demo_needs_no_data(empty):
    use_profile("demo", None, force=False)
    for name in NAMES[1:]:
        with pytest.raises(UserError, match=f"bench profile use {name} --data-dir DIR\n.*It needs: "):
            use_profile(name, None, force=False)
    with pytest.raises(UserError, match="there is no such folder"):
        use_profile("small", Path("elsewhere"), force=False)


def test_an_unknown_profile_is_answered_with_those_there_are(empty):
    with pytest.raises(UserError, match="there is no profile big; there are: demo, small, study-medmnist, "):
        use_profile("big", None, force=False)
    assert not Path("params.yaml").exists()


def test_the_data_sets_are_found_by_their_content(empty):
    folder = Path("given")
    write(folder / "a notes.txt")
    write(folder / "x-rays" / "Data_Entry_2017_v2020.csv")
    write(folder / "patches" / "10253" / "1" / "10253_idx5_x1_y1_class1.png")
    write(folder / "eyes" / "trainLabels.csv")
    write(folder / "my-histopathology-split.csv")
    use_profile("paper", folder, force=False)
    datasets = read_protocol().datasets
    assert datasets["nih"].path == "given/x-rays"
    assert datasets["idc"].path == "given/patches"
    assert datasets["idc"].split_file == "given/my-histopathology-split.csv"
    assert datasets["eyepacs"].path == "given/eyes"


def test_the_data_sets_are_found_in_zips_and_in_the_folder_itself(empty):
    folder = Path("given")
    write(folder / "Data_Entry_2017.csv")
    with zipfile.ZipFile(folder / "idc.zip", "w") as archive:
        archive.writestr("10253/0/10253_idx5_x1_y1_class0.png", b"")
    write(folder / "broken.zip", "PK not a zip")
    use_profile("small", folder, force=False)
    datasets = read_protocol().datasets
    assert datasets["nih"].path == "given"
    assert datasets["idc"].path == "given/idc.zip"
    assert datasets["idc"].split_file is None
    assert datasets["retina"].path == "given"


def test_the_chest_x_rays_of_the_study_are_found_by_their_folders(empty):
    folder = Path("given")
    write(folder / "nih" / "images" / "train" / "a.png")
    write(folder / "x-rays" / "chest_xray" / "train" / "NORMAL" / "IM-0001-0001.jpeg")
    assert find_data("kermany", folder) == "given/x-rays"
    assert find_data("kermany", folder / "nih") == "given/nih/chest-xray-pneumonia"


def test_paths_at_which_there_is_nothing_are_warned_of(empty):
    said = use_profile("medmnist", Path("given"), force=False)
    assert f"warning: retinamnist needs {empty / 'given' / 'retinamnist.npz'}, which does not exist." in said
    assert "bench download chestmnist pathmnist retinamnist" in said
    (empty / "given" / "retinamnist.npz").write_bytes(b"")
    said = use_profile("medmnist", Path("given"), force=False)
    assert "bench download chestmnist pathmnist\n" in said
    assert "warning" not in use_profile("demo", None, force=False)


def test_home_and_variables_in_the_data_folder_are_put_in(empty, monkeypatch):
    monkeypatch.setenv("HOME", str(empty))
    use_profile("medmnist", Path("~/given"), force=False)
    assert read_protocol().datasets["retinamnist"].path == f"{empty}/given"


def test_a_pipe_among_the_data_is_passed_over(empty):
    os.mkfifo(empty / "given" / "a.zip")
    assert find_data("nih", Path("given")) == "given/nih-chestxray14"


def test_data_that_is_not_there_yet_gets_the_path_at_which_it_is_expected(empty):
    use_profile("paper", Path("given"), force=False)
    datasets = read_protocol().datasets
    assert datasets["nih"].path == "given/nih-chestxray14"
    assert datasets["idc"].path == "given/breast-histopathology-images"
    assert datasets["eyepacs"].path == "given/eyepacs"


@pytest.mark.parametrize(
    "name", ["a: b", "x #1", "2017", "it's", 'say "x"', "{nih}", "null", "ä", "- x", "back\\slash"]
)
def test_any_name_of_a_folder_is_read_back(empty, name):
    (empty / name).mkdir()
    use_profile("medmnist", Path(name), force=False)
    assert {dataset.path for dataset in read_protocol().datasets.values()} == {name}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_of_another_user_is_passed_over(empty):
    (empty / "given" / "closed").mkdir(mode=0)
    assert find_data("nih", Path("given")) == "given/nih-chestxray14"


def test_a_torn_archive_is_passed_over(empty):
    with zipfile.ZipFile(empty / "given" / "a.zip", "w") as archive:
        archive.writestr("Data_Entry_2017.csv", b"x" * 100)
    whole = (empty / "given" / "a.zip").read_bytes()
    (empty / "given" / "a.zip").write_bytes(whole[:60] + whole[-22:])
    assert find_data("nih", Path("given")) == "given/nih-chestxray14"


def test_the_real_samples_are_found():
    default = Path(__file__).parents[3].parent / "shared" / "data"
    folder = Path(os.environ.get("IMSSL_DATA_DIR", default))
    if not folder.is_dir():
        pytest.skip("no samples of real data here (IMSSL_DATA_DIR)")
    assert find_data("nih", folder) == f"{folder.as_posix()}/nih-chestxray14-sample"
    assert find_data("idc", folder) == f"{folder.as_posix()}/breast-histopathology-images-sample.zip"
    assert find_data("kermany", folder) == f"{folder.as_posix()}/kermany-chest-xray-224px.zip"
    assert find_data("idc_split", folder) == f"{folder.as_posix()}/breast-histopathology-images-split.csv"
    assert find_data("medmnist", folder) == folder.as_posix()


def test_an_untouched_profile_is_replaced_and_an_edited_one_only_by_force(empty):
    for name in (*NAMES, "demo"):
        use_profile(name, Path("given"), force=False)
    file = Path("params.yaml")
    edited = file.read_text().replace("level: 0.95", "level: 0.9")
    file.write_text(edited)
    for name in NAMES:
        with pytest.raises(UserError, match=r"your changes would be lost.*--force"):
            use_profile(name, Path("given"), force=False)
    assert file.read_text() == edited
    use_profile("demo", None, force=True)
    assert read_params()["report"]["level"] == 0.95


@pytest.mark.parametrize("content", [b"", b"seeds: [", b"\xff\xfe", b"- a list\n", b"profile: demo\n"])
def test_a_file_that_cannot_be_read_is_not_lost_either(empty, content):
    Path("params.yaml").write_bytes(content)
    with pytest.raises(UserError, match="--force"):
        use_profile("demo", None, force=False)
    assert Path("params.yaml").read_bytes() == content
    use_profile("demo", None, force=True)
    read_protocol()


@pytest.mark.parametrize("name", NAMES)
def test_dvc_changes_the_line_that_it_is_asked_to_and_no_other(empty, name):
    """`dvc exp run -S knn.neighbours=21`, twice; by DVC's own function."""
    from dvc.utils.hydra import apply_overrides

    use_profile(name, Path("given"), force=False)
    file = Path("params.yaml")
    comments = re.findall(r"#.*", (PROFILES / f"{name}.yaml").read_text(encoding="utf-8"))
    assert re.findall(r"#.*", file.read_text(encoding="utf-8")) == comments
    for value in (21, 22):
        before = file.read_text(encoding="utf-8").splitlines()
        apply_overrides(file, [f"knn.neighbours={value}"])
        after = file.read_text(encoding="utf-8").splitlines()
        assert len(before) == len(after)
        assert [line for line, old in zip(after, before, strict=True) if line != old] == [
            f"  neighbours: {value}"
        ]


def test_a_profile_of_an_earlier_version_counts_as_untouched(empty):
    """Lists stood on a line then."""
    Path("params.yaml").write_text((PROFILES / "demo.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    use_profile("medmnist", Path("given"), force=False)
    assert "flag:" in Path("params.yaml").read_text(encoding="utf-8")
