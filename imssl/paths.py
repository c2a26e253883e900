"""Paths as users write them."""

import os
import re
from pathlib import Path

from imssl.errors import UserError


def expanded(path: str) -> Path:
    """A path in which ``~`` and variables (``$DATA``) are put in; one that exists as it is written stays.

    Raises:
        UserError: a variable is not set, or a home folder is not known.
    """
    if Path(path).exists():  # a folder may be called $x or ~x
        return Path(path)
    with_values = os.path.expandvars(path)
    unset = re.search(r"\$(\w+|\{\w+\})", with_values)
    if unset and not Path(with_values).exists():
        raise UserError(f"{path}: the variable {unset[0]} is not set. Set it, or write the path out.")
    try:
        return Path(with_values).expanduser()
    except RuntimeError:
        raise UserError(f"{path}: this home folder is not known. Write the path out.") from None
