"""The adapter of every source, by the settings that name it."""

from importlib import import_module

from imssl.datasets.files import Reading, located
from imssl.datasets.source import Source
from imssl.settings.datasets import (
    DatasetSettings,
    EyepacsSettings,
    IdcSettings,
    KermanySettings,
    MedmnistSettings,
    NihSettings,
    PhantomSettings,
)
from imssl.settings.sources import AnyDataset, one_file_source
from imssl.settings.user_datasets import FolderSettings, HuggingFaceSettings, TableSettings


def open_source(settings: AnyDataset) -> Source:
    """The adapter that the settings name, on the files that they name.

    Raises:
        UserError: the files are not there, or not laid out as the adapter expects.
    """
    # Imported here, so that an adapter's own libraries are needed only where it is used.
    module = one_file_source(settings)
    if module is not None:
        source: Source = import_module(module).source(settings, reading_of(settings))
        return source
    if isinstance(settings, PhantomSettings):
        from imssl.datasets import phantom

        return phantom.source(settings.kind, settings.patients, settings.size, settings.seed)
    reading = reading_of(settings)
    if isinstance(settings, MedmnistSettings):
        from imssl.datasets import medmnist

        return medmnist.source(settings.flag, settings.resolution, located(settings.path))
    if isinstance(settings, NihSettings):
        from imssl.datasets import nih

        return nih.source(located(settings.path), reading)
    if isinstance(settings, IdcSettings):
        from imssl.datasets import idc

        split_file = located(settings.split_file) if settings.split_file else None
        return idc.source(located(settings.path), split_file, reading)
    if isinstance(settings, EyepacsSettings):
        from imssl.datasets import eyepacs

        return eyepacs.source(located(settings.path), settings.grading, reading)
    if isinstance(settings, KermanySettings):
        from imssl.datasets import kermany

        return kermany.source(located(settings.path), reading)
    if isinstance(settings, FolderSettings):
        from imssl.datasets import folder

        return folder.source(settings, reading)
    if isinstance(settings, TableSettings):
        from imssl.datasets import table

        return table.source(settings, reading)
    if isinstance(settings, HuggingFaceSettings):
        from imssl.datasets import huggingface

        return huggingface.source(settings, reading)
    raise TypeError(f"{type(settings).__name__} are the settings of no source")


def reading_of(settings: DatasetSettings) -> Reading:
    """How the settings want the files of a source to be read."""
    return Reading(tuple(located(folder) for folder in settings.follow_links), settings.window)
