"""``bench init``: write a project in which every command of the installed suite works."""

import contextlib
from pathlib import Path

from bench.project.pipeline import pipeline
from bench.project.repository_files import repository_file
from bench.project.version_control import under_git, without_scm
from bench.protocol.params_file import PARAMS
from bench.protocol.profile import use_profile
from imssl.durable import write_text
from imssl.errors import UserError

GIT_IGNORE = """\
/.venv*/
/.bench/
/data/
/results/
/reports/*
!/reports/tuning/
/dvc_plots/
/*-results.zip
__pycache__/
*.partial
"""
DVC_GIT_IGNORE = "/config.local\n/tmp\n/cache\n"
METHODS_READ_ME = """\
# Methods of this project

One Python file each. `bench new-method NAME` writes one to start from, `bench check-method FILE` checks it,
and `bench add-method FILE` puts it here and enters it in params.yaml. The records of passed checks are in
`checked/`. Commit both.
"""


def initialise(folder: Path, profile: str, data_dir: Path | None, wants_git: bool) -> list[str]:
    """Write a project.

    Args:
        folder: is made where it is not there; other files in it stay as they are.
        profile: that params.yaml is written from.
        data_dir: folder with the data sets, for profiles that read images.
        wants_git: whether a repository of Git is begun where the folder is in none.

    Returns:
        What to say about it.

    Raises:
        UserError: a file of a project is there already, or the profile cannot be used; nothing is written.
    """
    _refuse_existing(folder)
    data_dir = data_dir and data_dir.absolute()
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with contextlib.chdir(folder):
            notes = use_profile(profile, data_dir, force=False)
    except UserError:
        if is_new:
            folder.rmdir()
        raise
    has_git = wants_git and under_git(folder)
    for name, text in _files(has_git).items():
        write_text(folder / name, text)
    control = "" if has_git else " It is under no version control, so provenance will name no commit."
    return [f"{folder} is a project of imssl-bench now.{control}", notes]


def _files(has_git: bool) -> dict[str, str]:
    """Text by name, params.yaml aside."""
    config = repository_file("config")
    files = {
        "dvc.yaml": pipeline(),
        ".dvcignore": repository_file(".dvcignore"),
        ".dvc/config": config if has_git else without_scm(config),
        ".dvc/.gitignore": DVC_GIT_IGNORE,
        "methods/README.md": METHODS_READ_ME,
    }
    for name in ("plots/by_data_set.json", "plots/by_data_set_log.json"):
        files[f".dvc/{name}"] = repository_file(name)
    if has_git:
        files |= {".gitignore": GIT_IGNORE, ".gitattributes": repository_file(".gitattributes")}
    return files


def _refuse_existing(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file. Name a folder, which may be new.")
    present = [name for name in (PARAMS.name, *_files(has_git=True)) if (folder / name).exists()]
    if present:
        raise UserError(
            f"{folder} has {', '.join(present)} already, and nothing was written. Name another folder, such "
            "as a new one; a project that is there needs no init."
        )
