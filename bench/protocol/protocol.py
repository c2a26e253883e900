"""params.yaml as typed values: everything that decides a number, refused where it cannot be right."""

import itertools
import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError, model_validator

from bench.protocol.params_file import ID_PATTERN, PARAMS, explain, parse_params, read_params
from imssl.errors import UserError
from imssl.settings.analyses import ReuseSettings
from imssl.settings.augmentation import Augmentation
from imssl.settings.base import Settings
from imssl.settings.datasets import AnyDataset
from imssl.settings.encoder import EncoderSettings
from imssl.settings.finetuning import FinetuneSettings
from imssl.settings.hardware import Hardware
from imssl.settings.pretraining import PretrainSettings
from imssl.settings.probing import LinearSettings

Id = Annotated[str, Field(pattern=ID_PATTERN, max_length=40)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]

# What the stages depend on lies there, beside the data sets' folders.
RESERVED = "inputs"


class ReportSettings(Settings):
    """How results are summarised.

    Attributes:
        baseline: method that the others are compared with.
        resamples: of the bootstrap over patients.
        level: nominal coverage of the intervals.
        least_seeds: below so many seeds there is no mark, no verdict, no p-value and no interval of a rank.
    """

    baseline: Id
    resamples: int = Field(ge=100, le=1_000_000)
    level: float = Field(gt=0.5, lt=1)
    least_seeds: int = Field(default=3, ge=3)


class Protocol(Settings):
    """The whole of params.yaml. Methods are kept as written; bench.protocol.registry gives them their types.

    Attributes:
        profile: name of the profile it was written from, for the reader.
        hardware: device, threads, precision.
        seeds: one full run of everything each.
        datasets: by id.
        methods: hyper-parameters by method id, and ``file`` where the file is not named after the id.
        encoder: architecture.
        pretrain: length and optimiser.
        augmentation: of the pretraining views.
        label_fractions: shares of the labelled training images, ascending; 1 is among them.
        finetune: of all weights.
        finetune_augmentation: of the fine-tuning images.
        linear: the frozen-encoder variant of fine-tuning.
        probe: the block-wise probes, on all labels.
        reuse: CKA before and after fine-tuning.
        report: intervals and comparisons.
    """

    profile: str = Field(max_length=100)
    hardware: Hardware
    seeds: Annotated[list[Seed], Field(min_length=1)]
    datasets: Annotated[dict[Id, AnyDataset], Field(min_length=1)]
    methods: Annotated[dict[Id, dict[str, Any]], Field(min_length=1)]
    encoder: EncoderSettings
    pretrain: PretrainSettings
    augmentation: Augmentation
    label_fractions: Annotated[list[Fraction], Field(min_length=1)]
    finetune: FinetuneSettings
    finetune_augmentation: Augmentation
    linear: LinearSettings
    probe: LinearSettings
    reuse: ReuseSettings
    report: ReportSettings

    @model_validator(mode="after")
    def _consistent(self) -> "Protocol":
        # Each message begins with the key to mend, which explain() looks up.
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds is {self.seeds}; give each seed once")
        if sorted(set(self.label_fractions)) != self.label_fractions or self.label_fractions[-1] != 1:
            raise ValueError(
                f"label_fractions is {self.label_fractions}; it must ascend and end with 1.0, "
                "which KS is measured against"
            )
        if self.report.baseline not in self.methods:
            raise ValueError(
                f"report.baseline is {self.report.baseline}; the methods are: {', '.join(self.methods)}"
            )
        if RESERVED in self.datasets:
            raise ValueError(f"datasets.{RESERVED} needs another name; results/{RESERVED} is taken")
        _check_stage_names(list(self.datasets), list(self.methods))
        return self

    def views_of(self, dataset: str, augmentation: Augmentation) -> Augmentation:
        """An augmentation without the flips that make no sense for a data set."""
        settings = self.datasets[dataset]
        return augmentation.model_copy(
            update={
                "horizontal_flip": augmentation.horizontal_flip if settings.horizontal_flip else 0.0,
                "vertical_flip": augmentation.vertical_flip if settings.vertical_flip else 0.0,
            }
        )


def read_protocol(path: Path = PARAMS) -> Protocol:
    """Read and check params.yaml.

    Raises:
        UserError: the file is missing, is not YAML, or holds a value that is not allowed; the message names
            line, key, value and what is allowed.
    """
    return _checked(read_params(path), path)


def protocol_of(text: str) -> Protocol:
    """Check the text of a params.yaml that may not be written yet.

    Raises:
        UserError: as :func:`read_protocol`.
    """
    return _checked(parse_params(text), PARAMS)


def _checked(content: dict[str, Any], path: Path) -> Protocol:
    try:
        return Protocol.model_validate_json(json.dumps(content, default=str), strict=True)
    except ValidationError as error:
        raise UserError(explain(error, content, str(path))) from None


def _check_stage_names(datasets: list[str], methods: list[str]) -> None:
    # DVC names a matrix stage "<data set>-<method>" and silently merges two that come out alike.
    names: dict[str, tuple[str, str]] = {}
    for dataset, method in itertools.product(datasets, methods):
        name = f"{dataset}-{method}"
        if name in names:
            other_dataset, other_method = names[name]
            raise ValueError(
                f"datasets.{dataset} with method {method}, and {other_dataset} with method {other_method}, "
                f"would both be the stage {name}; rename one of them"
            )
        names[name] = (dataset, method)


def values(settings: BaseModel) -> dict[str, Any]:
    """Settings as plain values, defaults included: what goes into a cell's key."""
    return settings.model_dump(mode="json")
