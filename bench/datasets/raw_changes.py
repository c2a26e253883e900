"""Which raw files have changed since a data set was prepared."""

from bench.cells.files import data_folder
from bench.datasets.manifest import (
    CARD_KEY,
    Changes,
    changes_between,
    kept_manifest,
    manifest_of,
)
from imssl.datasets.prepared import read_card
from imssl.settings.datasets import DatasetSettings


def changed_since_prepared(dataset: str, settings: DatasetSettings) -> Changes | str | None:
    """What has changed of the raw files since they were prepared.

    Args:
        dataset: its id.
        settings: of it.

    Returns:
        The names of the files; a sentence where only the fact is known; None if nothing has changed, or the
        data set has no raw files.

    Raises:
        UserError: the data set is not prepared, or a folder cannot be read.
    """
    before = read_card(data_folder(dataset)).inputs.get(CARD_KEY)
    if before is None:
        return None
    now = manifest_of(settings)
    if now is None:
        return "the raw files are not there now"
    if now.sha256 == before:
        return None
    manifest = kept_manifest(before)
    if manifest is None:
        return "the raw files are others than it was prepared from, in another checkout"
    return changes_between(manifest, now)
