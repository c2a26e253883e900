"""Profiles: ready-made protocols, each a commented YAML file in the folder beside this one."""

import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

from bench.protocol.params_file import PARAMS
from bench.protocol.protocol import read_protocol
from imssl.durable import write_text
from imssl.errors import UserError

FOLDER = Path(__file__).parent / "profiles"
PLACE = re.compile(r"\{(nih|idc|idc_split|eyepacs|medmnist)\}")


@dataclass(frozen=True)
class Profile:
    """A profile and the head of its file.

    Attributes:
        name: of the profile.
        text: of params.yaml, with places for paths.
        summary: what is compared.
        needs: data it needs.
        time: how long it takes, roughly.
    """

    name: str
    text: str
    summary: str
    needs: str
    time: str


def profiles() -> list[Profile]:
    """All profiles, from the quickest to the slowest."""
    return [_read(name) for name in ("demo", "small", "medmnist", "paper")]


def use_profile(name: str, data_dir: Path | None, force: bool) -> str:
    """Write params.yaml from a profile and say what was done.

    Args:
        name: of the profile.
        data_dir: folder with the data sets; needed by all profiles but the demo.
        force: overwrite a params.yaml that is not as a profile wrote it.

    Raises:
        UserError: no such profile, no data folder, or an edited params.yaml would be lost.
    """
    names = [profile.name for profile in profiles()]
    if name not in names:
        raise UserError(f"there is no profile {name}; there are: {', '.join(names)}")
    profile = _read(name)
    places = sorted(set(PLACE.findall(profile.text)))
    if places and data_dir is None:
        raise UserError(
            f"profile {name} reads images from a folder: bench profile use {name} --data-dir DIR\n"
            f"It needs: {profile.needs}."
        )
    text, notes = profile.text, []
    for place in places:
        path = find_data(place, data_dir or Path())
        # Quoted, or a folder named "a: b", "x #1" or "2017" would be read as something else.
        text = text.replace(f"{{{place}}}", "null" if path is None else _quoted(path))
        notes.append(f"  {place}: {path or 'none found'}")
    if not force:
        _refuse_to_lose_edits(text)
    write_text(PARAMS, text)
    read_protocol()
    return "\n".join([f"params.yaml is now profile {name}.", *notes, "Run it with: dvc repro"])


def find_data(place: str, folder: Path) -> str | None:
    """Where below a folder a source lies: the first folder or zip whose content looks right.

    Where there is none, the path at which it is expected, so that the data stage can say what to put there;
    None for a split file, which may be missing.

    Raises:
        UserError: the folder does not exist.
    """
    if not folder.is_dir():
        raise UserError(f"--data-dir {folder}: there is no such folder")
    if place == "medmnist":
        return folder.as_posix()
    candidates = [folder, *sorted(folder.iterdir())]
    if place == "idc_split":
        found = [path for path in candidates if path.suffix == ".csv" and "histopath" in path.name.lower()]
        return found[0].as_posix() if found else None
    looks_right = {"nih": _is_nih, "idc": _is_idc, "eyepacs": _is_eyepacs}[place]
    expected = {"nih": "nih-chestxray14", "idc": "breast-histopathology-images", "eyepacs": "eyepacs"}[place]
    found = [path for path in candidates if looks_right(path)]
    return (found[0] if found else folder / expected).as_posix()


def _is_nih(path: Path) -> bool:
    return any(name.startswith("Data_Entry_2017") for name in _names(path))


def _is_idc(path: Path) -> bool:
    return any(re.search(r"(^|/)\d+/[01]/[^/]+_class[01]\.png$", name) for name in _names(path, depth=3))


def _is_eyepacs(path: Path) -> bool:
    return "trainLabels.csv" in _names(path)


def _names(path: Path, depth: int = 1) -> list[str]:
    """Some names in a zip or folder; of a deep folder, the first branch is enough to know it by.

    What cannot be read, such as another user's folder or a torn zip, has no names.
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
    if path.suffix == ".zip" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    return []


def _refuse_to_lose_edits(text: str) -> None:
    if not PARAMS.exists():
        return
    current = PARAMS.read_text(encoding="utf-8", errors="replace")
    if current != text and not any(_same_but_places(profile.text, current) for profile in profiles()):
        raise UserError(
            f"{PARAMS} is not as a profile wrote it, and your changes would be lost. "
            f"Keep a copy and add --force."
        )


def _quoted(path: str) -> str:
    """A path as YAML's double-quoted text, which knows no unprintable characters but as escapes."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"--data-dir {path!r}: the name is not UTF-8, so params.yaml cannot hold it; rename the folder"
        ) from None
    return re.sub(r"[^\x20-\x7e]", _escaped_unless_printable, json.dumps(path, ensure_ascii=False))


def _escaped_unless_printable(character: re.Match[str]) -> str:
    return character[0] if character[0].isprintable() else f"\\U{ord(character[0]):08x}"


def _same_but_places(template: str, text: str) -> bool:
    parts = re.split(r"(\{[a-z_]+\})", template)
    pattern = "".join(r"[^\n]*" if PLACE.fullmatch(part) else re.escape(part) for part in parts)
    return re.fullmatch(pattern, text) is not None


def _read(name: str) -> Profile:
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    head = {}
    for key in ("compares", "needs", "time"):
        match = re.search(rf"^# {key}: (.+)$", text, re.MULTILINE)
        head[key] = match.group(1) if match else ""
    return Profile(name, text, head["compares"], head["needs"], head["time"])
