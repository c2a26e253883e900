"""Profiles: ready-made protocols, each a commented YAML file in the folder ``profiles``."""

import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml.error import YAMLError

from bench.protocol.nearest_name import did_you_mean
from bench.protocol.params_file import PARAMS, PROFILES, as_dvc_writes
from bench.protocol.protocol import read_protocol
from imssl.datasets.files import located
from imssl.datasets.medmnist import file_name
from imssl.durable import write_text
from imssl.errors import UserError
from imssl.paths import expanded
from imssl.regular_file import read_regular
from imssl.settings.datasets import IdcSettings, MedmnistSettings, PhantomSettings
from imssl.settings.sources import AnyDataset

# Stands in a profile for the path of a data set, which is known only on the user's machine.
PLACEHOLDER = re.compile(r"\{(nih|idc|idc_split|eyepacs|kermany|medmnist)\}")


@dataclass(frozen=True)
class Profile:
    """A profile, with what the comments at the top of its file say about it.

    Attributes:
        name: what ``bench profile use`` calls it.
        text: params.yaml, with placeholders for paths.
        summary: what it compares.
        needs: the data it needs.
        time: roughly how long it takes.
    """

    name: str
    text: str
    summary: str
    needs: str
    time: str


def profiles() -> list[Profile]:
    """All profiles, from the quickest to the slowest."""
    return [_read(name) for name in ("demo", "small", "study-medmnist", "study", "medmnist", "paper")]


def use_profile(name: str, data_dir: Path | None, force: bool) -> str:
    """Write params.yaml from a profile, and return what to say about it.

    Args:
        name: of the profile.
        data_dir: folder with the data sets; every profile but the demo needs one.
        force: overwrite params.yaml even if it has been edited since a profile wrote it.

    Raises:
        UserError: there is no such profile or data folder, or an edited params.yaml would be lost.
    """
    names = [profile.name for profile in profiles()]
    if name not in names:
        raise UserError(
            f"there is no profile {name}; there are: {', '.join(names)}.{did_you_mean(name, names)}"
        )
    profile = _read(name)
    placeholders = sorted(set(PLACEHOLDER.findall(profile.text)))
    if placeholders and data_dir is None:
        raise UserError(
            f"profile {name} reads images from a folder: bench profile use {name} --data-dir DIR\n"
            f"It needs: {profile.needs}."
        )
    text, notes = profile.text, []
    for placeholder in placeholders:
        path = find_data(placeholder, data_dir or Path())
        # Quoted, because YAML would not read a folder named "a: b", "x #1" or "2017" as text.
        text = text.replace(f"{{{placeholder}}}", "null" if path is None else _quoted(path))
        notes.append(f"  {placeholder}: {path or 'none found'}")
    text = as_dvc_writes(text)
    if not force:
        _refuse_to_lose_edits(text)
    write_text(PARAMS, text)
    protocol = read_protocol()
    absent = {name: files for name, settings in protocol.datasets.items() if (files := _absent(settings))}
    for dataset, files in absent.items():
        notes.append(f"warning: {dataset} needs {', '.join(map(str, files))}, which does not exist.")
    if absent:
        notes.append(f"Put that there, or have it downloaded with: bench download {' '.join(absent)}")
    return "\n".join([f"params.yaml is now profile {name}.", *notes, "Run it with: dvc repro"])


def _absent(settings: AnyDataset) -> list[Path]:
    """Files and folders that the settings of a data set name and that do not exist."""
    if isinstance(settings, PhantomSettings):
        return []
    named = [located(path)] if (path := getattr(settings, "path", None)) else []
    if isinstance(settings, MedmnistSettings):
        named = [named[0] / file_name(settings.flag, settings.resolution)]
    if isinstance(settings, IdcSettings) and settings.split_file is not None:
        named.append(located(settings.split_file))
    return [path for path in named if not path.exists()]


def find_data(placeholder: str, folder: Path) -> str | None:
    """The path that takes a placeholder's place: the first folder or zip whose content looks right.

    Where there is none, it is the path at which the data are expected, so that the data stage can say what
    to put there; None for a split file, which is optional.

    Args:
        placeholder: a name that `PLACEHOLDER` matches.
        folder: the user's data folder; it and what lies directly in it are looked at.

    Raises:
        UserError: the folder does not exist.
    """
    folder = expanded(str(folder))
    if not folder.is_dir():
        raise UserError(f"--data-dir {folder}: there is no such folder")
    if placeholder == "medmnist":
        return folder.as_posix()
    candidates = [folder, *sorted(folder.iterdir())]
    if placeholder == "idc_split":
        lists = [path for path in candidates if path.suffix == ".csv" and "histopath" in path.name.lower()]
        return lists[0].as_posix() if lists else None
    looks_right, usual_name = {
        "nih": (_is_nih, "nih-chestxray14"),
        "idc": (_is_idc, "breast-histopathology-images"),
        "eyepacs": (_is_eyepacs, "eyepacs"),
        "kermany": (_is_kermany, "chest-xray-pneumonia"),
    }[placeholder]
    matches = [path for path in candidates if looks_right(path)]
    return (matches[0] if matches else folder / usual_name).as_posix()


def _is_nih(path: Path) -> bool:
    return any(name.startswith("Data_Entry_2017") for name in _names(path))


def _is_idc(path: Path) -> bool:
    return any(re.search(r"(^|/)\d+/[01]/[^/]+_class[01]\.\w+$", name) for name in _names(path, depth=3))


def _is_eyepacs(path: Path) -> bool:
    return "trainLabels.csv" in _names(path)


def _is_kermany(path: Path) -> bool:
    return any(re.search(r"(^|/)(train|val|test)/(NORMAL|PNEUMONIA)(/|$)", name) for name in _names(path, 3))


def _names(path: Path, depth: int = 1) -> list[str]:
    """Names in a zip or folder, not necessarily all: the first few thousand are enough to recognise it by.

    What cannot be read, such as another user's folder or a truncated zip, has no names.
    """
    try:
        return _readable_names(path, depth)
    except (OSError, zipfile.BadZipFile):
        return []


def _readable_names(path: Path, depth: int) -> list[str]:
    if path.is_dir():
        names = []
        for child in sorted(path.iterdir()):
            names.append(child.name)
            if depth > 1 and child.is_dir():
                names += [f"{child.name}/{name}" for name in _names(child, depth - 1)]
            if len(names) > 2000:
                break
        return names
    if path.suffix == ".zip" and path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    return []


def _refuse_to_lose_edits(text: str) -> None:
    if not PARAMS.exists():
        return
    try:
        current = read_regular(PARAMS).decode(errors="replace")
    except OSError as error:
        raise UserError(f"{PARAMS} cannot be read: {error.strerror}. Move it away.") from None
    if current != text and not _is_a_profile(current):
        raise UserError(
            f"{PARAMS} has been edited since a profile wrote it, and your changes would be lost. "
            "Keep a copy of it, then run the command again with --force."
        )


def _quoted(path: str) -> str:
    """A path as double-quoted YAML, in which unprintable characters must be written as escapes."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"--data-dir {path!r}: the name is not UTF-8, so params.yaml cannot hold it; rename the folder"
        ) from None
    return re.sub(r"[^\x20-\x7e]", _escaped_unless_printable, json.dumps(path, ensure_ascii=False))


def _escaped_unless_printable(character: re.Match[str]) -> str:
    return character[0] if character[0].isprintable() else f"\\U{ord(character[0]):08x}"


def _is_a_profile(text: str) -> bool:
    """Whether a text is a profile, however its lists are laid out and wherever its data are."""
    try:
        written = as_dvc_writes(text)
    except (YAMLError, AttributeError, ValueError):  # not YAML, or not sections of values
        return False
    return any(_same_but_paths(profile.text, written) for profile in profiles())


def _same_but_paths(template: str, written: str) -> bool:
    parts = re.split(r"( path_\w+)", as_dvc_writes(PLACEHOLDER.sub(r"path_\1", template)))
    # A path may be folded over several lines; one that there is not is no value at all.
    pattern = "".join(
        r"[^\n]*(?:\n {6,}[^\n]*)*" if part[:6] == " path_" else re.escape(part) for part in parts
    )
    return re.fullmatch(pattern, written) is not None


def _read(name: str) -> Profile:
    text = (PROFILES / f"{name}.yaml").read_text(encoding="utf-8")
    head = {}
    for key in ("compares", "needs", "time"):
        match = re.search(rf"^# {key}: (.+)$", text, re.MULTILINE)
        head[key] = match.group(1) if match else ""
    return Profile(name, text, head["compares"], head["needs"], head["time"])
