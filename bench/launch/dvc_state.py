"""DVC's own files: what a kill has left unreadable is set aside, and what its lock says of the data is read.

Nothing is lost by that. Finished cells are in the store, and DVC notes again what it finds.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from bench.cells.files import data_folder
from bench.machine.system import is_running
from bench.protocol.protocol import Protocol
from bench.protocol.stage_specs import CELL_STAGES
from bench.stages.inputs import stale_data
from imssl.datasets.prepared import read_card
from imssl.errors import UserError
from imssl.regular_file import why_not_regular

PIPELINE, LOCK_FILE = Path("dvc.yaml"), Path("dvc.lock")
# Of the processes that read and write; DVC cannot start with one that is not JSON.
READ_WRITE_LOCK = Path(".dvc/tmp/rwlock")


def refuse_what_is_no_file() -> None:
    """Refuse a pipe or a folder in the place of a file that DVC reads; it would wait for the pipe for ever.

    Raises:
        UserError: there is one, or there is no dvc.yaml.
    """
    if not PIPELINE.exists():
        raise UserError(f"there is no {PIPELINE} here. Run this in the project's folder.")
    for file in (PIPELINE, LOCK_FILE, READ_WRITE_LOCK):
        reason = why_not_regular(file.stat()) if file.exists() else None
        if reason:
            raise UserError(f"{file} {reason}. Move it away.")


def set_unreadable_aside() -> list[str]:
    """Rename DVC's files that cannot be read, as a kill in the middle of writing leaves them.

    Returns:
        What was done, a sentence for each file.
    """
    notes = []
    for file, is_readable in ((LOCK_FILE, _is_lock_file), (READ_WRITE_LOCK, _is_json)):
        if file.is_file() and not is_readable(file):
            aside = file.with_name(file.name + ".unreadable")
            file.replace(aside)
            notes.append(
                f"{file} could not be read, perhaps after a kill. It is now {aside}, and DVC writes it "
                "anew; finished cells are in the store and are not computed again."
            )
    return notes


def another_dvc() -> str:
    """A DVC process that reads or writes in this folder, in words; empty where there is none."""
    try:
        paths = json.loads(READ_WRITE_LOCK.read_text(encoding="utf-8"))
        uses = [use for path in paths.values() for use in (path.get("write"), *path.get("read", [])) if use]
        for use in uses:
            if is_running(use["pid"]):
                return f"{use['cmd']} (process {use['pid']})"
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return ""
    return ""


def data_are_current(protocol: Protocol) -> bool:
    """Whether every data set is made from what params.yaml, the sources and the raw files say now.

    Asked of dvc.lock, which takes a tenth of the time of asking DVC.
    """
    if stale_data(protocol):
        return False
    stages = _noted_stages()
    try:
        for dataset in protocol.datasets:
            noted = {dep["path"]: dep["md5"] for dep in stages[f"data@{dataset}"]["deps"]}
            for path, checksum in noted.items():
                if hashlib.md5(Path(path).read_bytes(), usedforsecurity=False).hexdigest() != checksum:
                    return False
            read_card(data_folder(dataset))
    except (OSError, KeyError, TypeError, UserError):
        return False
    return True


def unseen_stages() -> list[str]:
    """Stages with cells of which dvc.lock holds nothing yet: all of them in a first run."""
    seen = {name.partition("@")[0] for name in _noted_stages()}
    return [stage for stage in CELL_STAGES if stage not in seen]


def _noted_stages() -> dict[str, Any]:
    """What dvc.lock says of each stage; nothing where there is none that can be read."""
    try:
        return YAML(typ="safe").load(LOCK_FILE.read_text(encoding="utf-8"))["stages"] or {}
    except (OSError, YAMLError, KeyError, TypeError):
        return {}


def _is_lock_file(file: Path) -> bool:
    try:
        content = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError, ValueError):
        return False
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error}") from None
    return isinstance(content, dict) and isinstance(content.get("stages", {}), dict) and "schema" in content


def _is_json(file: Path) -> bool:
    try:
        return isinstance(json.loads(file.read_text(encoding="utf-8")), dict)
    except ValueError:
        return False
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error}") from None
