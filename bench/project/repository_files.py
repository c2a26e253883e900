"""Files of the suite's repository that a project needs; a wheel brings them along, see pyproject.toml."""

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import bench
from imssl.errors import UserError

SHARE = "share/imssl-bench"
# As they are called below SHARE, and where they lie in the repository.
PLACES = {
    "dvc.yaml": "dvc.yaml",
    ".dvcignore": ".dvcignore",
    ".gitattributes": ".gitattributes",
    "config": ".dvc/config",
    "plots/by_data_set.json": ".dvc/plots/by_data_set.json",
    "plots/by_data_set_log.json": ".dvc/plots/by_data_set_log.json",
}


def repository_file(name: str) -> str:
    """The text of one of PLACES.

    Raises:
        UserError: the suite is neither a checkout nor installed as a whole.
    """
    root = Path(bench.__file__).parents[1]
    if (root / "pyproject.toml").is_file():
        return (root / PLACES[name]).read_text(encoding="utf-8")
    try:
        installed = files("imssl-bench") or []
    except PackageNotFoundError:
        installed = []
    for file in installed:
        if file.as_posix().endswith(f"{SHARE}/{name}"):
            return Path(str(file.locate())).read_text(encoding="utf-8")
    raise UserError(
        f"{SHARE}/{name} is missing from this installation. Install it again: pip install imssl-bench"
    )
