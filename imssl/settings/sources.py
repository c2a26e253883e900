"""Every source that a row of ``datasets`` can name."""

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from imssl.settings.datasets import (
    DatasetSettings,
    EyepacsSettings,
    IdcSettings,
    KermanySettings,
    MedmnistSettings,
    NihSettings,
    PhantomSettings,
)
from imssl.settings.user_datasets import FolderSettings, HuggingFaceSettings, TableSettings

# Sources that are one module: it has a class `Settings` and a function `source(settings, reading)`. This list
# is all else that names them, so one line adds a source: "imssl.datasets.mammograms",
ONE_FILE_SOURCES: tuple[str, ...] = ()

# Those whose settings stand apart from what reads them, so that params.yaml is read without NumPy and pandas.
SETTINGS_APART = (
    PhantomSettings,
    MedmnistSettings,
    NihSettings,
    IdcSettings,
    EyepacsSettings,
    KermanySettings,
    FolderSettings,
    TableSettings,
    HuggingFaceSettings,
)

if TYPE_CHECKING:
    AnyDataset = DatasetSettings
else:
    AnyDataset = Annotated[
        Union[(*SETTINGS_APART, *(import_module(module).Settings for module in ONE_FILE_SOURCES))],
        Field(discriminator="source"),
    ]


def one_file_source(settings: DatasetSettings) -> str | None:
    """The module that reads a source of `ONE_FILE_SOURCES`; None for any other source."""
    module = type(settings).__module__
    return module if module in ONE_FILE_SOURCES else None
