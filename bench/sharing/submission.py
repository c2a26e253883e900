"""What a submission is: one method's file, settings, checks, trials and results, for others to review.

submission.json                          what is in here, with the SHA-256 of every other file
method.py                                the method's file, as text
checks.json  tuning.csv                  record of its checks, trials of `bench tune`; where there are any
cards/<data set>.json                    what the results were computed from
results/<data set>/<stage>/<method>/...  files of every cell; encoders and features only if asked for
results/<data set>/provenance/...        when, where and with which versions
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from bench.cells.files import ENCODER_FILE, FEATURES_FILE, STATISTICS_FILE
from bench.protocol.protocol import Id, Protocol, values

SUBMISSION_FILE = "submission.json"
METHOD_FILE = "method.py"
CHECKS_FILE = "checks.json"
TUNING_FILE = "tuning.csv"
# Large, and not needed to compute the scores again.
ENCODER_FILES = (ENCODER_FILE, STATISTICS_FILE, FEATURES_FILE)

# What of params.yaml the cells of a comparison need not share: the methods themselves, what belongs to this
# machine, and what only reads results. Data sets are shared in part, as paths differ from machine to machine;
# the content of data is compared by their cards. Another device is reported, not refused.
NOT_SHARED = {"methods", "initialisations", "hardware", "profile", "report", "tune", "datasets"}
OF_DATASET = ("size", "channels", "pretrain", "augmentation", "finetune_augmentation")

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Submission(BaseModel):
    """submission.json.

    Attributes:
        schema_version: of the archive.
        suite: version that packed it.
        method: its name.
        method_file: name of its file in imssl/methods.
        row: what params.yaml says of it.
        row_on_datasets: what it says of it on single data sets.
        protocol: the rest of params.yaml that decides numbers, see `shared_protocol`.
        has_encoders: whether encoders and features are in the archive.
        cells: how many.
        files: SHA-256 of every other file, by name.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    suite: str
    method: Id
    method_file: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*\.py$", max_length=60)]
    row: dict[str, Any]
    row_on_datasets: dict[Id, dict[str, Any]]
    protocol: dict[str, Any]
    has_encoders: bool
    cells: Annotated[int, Field(ge=0)]
    files: dict[str, Sha256]


def shared_protocol(protocol: Protocol) -> dict[str, Any]:
    """What of params.yaml all methods of a comparison share, without paths of this machine."""
    written = values(protocol)
    sections = {name: section for name, section in written.items() if name not in NOT_SHARED}
    datasets = {
        name: {key: settings[key] for key in OF_DATASET if key in settings}
        for name, settings in written["datasets"].items()
    }
    return {**sections, "datasets": datasets}
