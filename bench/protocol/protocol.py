"""params.yaml as typed values: everything that decides a number, refused where it cannot be right."""

import itertools
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from bench.protocol.params_file import ID_PATTERN, PARAMS, explain, parse_params, read_params
from imssl.errors import UserError
from imssl.settings.analyses import ReuseSettings
from imssl.settings.augmentation import Augmentation
from imssl.settings.base import Settings
from imssl.settings.datasets import DatasetSettings
from imssl.settings.encoder import AnyEncoder
from imssl.settings.finetuning import FinetuneSettings
from imssl.settings.hardware import Hardware
from imssl.settings.labels import LabelSet, ValidationLabels
from imssl.settings.pretraining import PretrainSettings
from imssl.settings.probing import KnnSettings, LinearSettings
from imssl.settings.sources import AnyDataset

Id = Annotated[str, Field(pattern=ID_PATTERN, max_length=40)]
Fraction = Annotated[float, Field(gt=0, le=1)]
PerClass = Annotated[int, Field(ge=1)]
WeightsFile = Annotated[str, Field(min_length=1)]
# One file for every data set, or one each.
StartingFiles = WeightsFile | dict[Id, WeightsFile]
Seed = Annotated[int, Field(ge=0, lt=2**31)]

# In params.yaml, beside a method's hyper-parameters: which file it is in, where it is not named after its id.
FILE_KEY = "file"
# Likewise: values of pretrain.optimisation that are different for this method, as `bench tune` finds them.
OPTIMISATION_KEY = "optimisation"
# Likewise: which of `initialisations` its encoder starts from.
INITIALISATION_KEY = "initialisation"
# The initialisation that needs no file.
RANDOM = "random"
# Keys of a method's row that are no hyper-parameters of its class.
ROW_KEYS = (FILE_KEY, OPTIMISATION_KEY, INITIALISATION_KEY)

# A data set allows or forbids them, whatever the augmentation says.
FLIPS = {"horizontal_flip", "vertical_flip"}

# What the stages depend on lies there, beside the data sets' folders.
RESERVED = "inputs"


class ReportSettings(Settings):
    """How results are summarised.

    Attributes:
        baseline: method that the others are compared with.
        resamples: of the bootstrap over patients.
        level: nominal coverage of the intervals.
        least_seeds: below so many seeds there is no mark, no verdict, no p-value and no interval of a rank.
        thumbnails: whether the pages of data sets show small pictures of the test images, where the licence
            lets images be passed on.
    """

    baseline: Id
    resamples: int = Field(ge=100, le=1_000_000)
    level: float = Field(gt=0.5, lt=1)
    least_seeds: int = Field(default=3, ge=3)
    thumbnails: bool = False


class TuneSettings(Settings):
    """How much `bench tune` searches, the same for every method.

    Attributes:
        trials: sets of values that are tried.
        length: of a trial's pretraining, as a share of the epochs or steps of a run. Short trials search more
            for the same hours, and favour settings that learn fast.
        judge: of a trial, on validation images: ``knn``, nearest neighbours, or ``linear``, a linear
            classifier on the last block; either is fitted on the training images and their labels.
    """

    trials: int = Field(ge=1, le=10_000)
    length: float = Field(default=1.0, gt=0, le=1)
    judge: Literal["knn", "linear"]


class Protocol(Settings):
    """The whole of params.yaml. Methods are kept as written; bench.protocol.registry gives them their types.

    Attributes:
        profile: name of the profile it was written from, for the reader.
        hardware: device, threads, precision.
        seeds: one full run of everything each.
        datasets: by id.
        methods: hyper-parameters by method id, ``file`` where the file is not named after the id,
            ``optimisation`` with values of the optimiser that differ, and ``initialisation`` with what the
            encoder starts from; a data set may have other hyper-parameters (:meth:`written_settings`).
        encoder: architecture, and the weights that every row starts from where they are not random.
        initialisations: files with weights by name, for rows that start from them (``initialisation: NAME``
            in the row): one for every data set, or one each.
        pretrain: length and optimiser; of one data set, see :meth:`pretrain_of`.
        augmentation: of the pretraining views; of one data set, see :meth:`augmentation_of`.
        label_fractions: shares of the labelled training images, ascending; 1 is among them.
        labels_per_class: label sets of k-shot beside these: so many training images with each class,
            ascending; may be empty.
        validation_labels: which validation images may choose an epoch or a strength: as large a share of them
            as of the training images (``same share``), or ``all``, whatever the share.
        finetune: of all weights.
        finetune_augmentation: of the fine-tuning images; likewise :meth:`finetune_augmentation_of`.
        linear: the frozen-encoder variant of fine-tuning.
        probe: the block-wise probes, on all labels.
        knn: nearest neighbours on frozen features.
        reuse: CKA before and after fine-tuning.
        tune: budget and judge of a search of settings.
        report: intervals and comparisons.
    """

    profile: str = Field(max_length=100)
    hardware: Hardware
    seeds: Annotated[list[Seed], Field(min_length=1)]
    datasets: Annotated[dict[Id, AnyDataset], Field(min_length=1)]
    methods: Annotated[dict[Id, dict[str, Any]], Field(min_length=1)]
    encoder: AnyEncoder
    initialisations: dict[Id, StartingFiles]
    pretrain: PretrainSettings
    augmentation: Augmentation
    label_fractions: Annotated[list[Fraction], Field(min_length=1)]
    labels_per_class: list[PerClass]
    validation_labels: ValidationLabels
    finetune: FinetuneSettings
    finetune_augmentation: Augmentation
    linear: LinearSettings
    probe: LinearSettings
    knn: KnnSettings
    reuse: ReuseSettings
    tune: TuneSettings
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
        if sorted(set(self.labels_per_class)) != self.labels_per_class:
            raise ValueError(f"labels_per_class is {self.labels_per_class}; it must ascend, each number once")
        if self.report.baseline not in self.methods:
            raise ValueError(
                f"report.baseline is {self.report.baseline}; the methods are: {', '.join(self.methods)}"
            )
        devices, micro_batches = self.hardware.devices, self.hardware.micro_batches
        if self.pretrain.batch_size % (devices * micro_batches):
            raise ValueError(
                f"pretrain.batch_size is {self.pretrain.batch_size}, which cannot be dealt out in equal "
                f"shares to hardware.devices = {devices} with hardware.micro_batches = {micro_batches}; "
                f"make it a multiple of {devices * micro_batches}"
            )
        if RESERVED in self.datasets:
            raise ValueError(f"datasets.{RESERVED} needs another name; results/{RESERVED} is taken")
        _check_stage_names(list(self.datasets), list(self.methods))
        _check_initialisations(self.initialisations, self.methods, list(self.datasets))
        for dataset, settings in self.datasets.items():
            _check_values_of(dataset, settings, list(self.methods))
        return self

    @property
    def label_sets(self) -> list[LabelSet]:
        """How many labels a model may use: k-shot, then shares; the last is all labels."""
        of_each_class = [LabelSet(per_class=number) for number in self.labels_per_class]
        return of_each_class + self.label_shares

    @property
    def label_shares(self) -> list[LabelSet]:
        """Those of them that are shares of the labels, as in the paper."""
        return [LabelSet(fraction=fraction) for fraction in self.label_fractions]

    def pretrain_of(self, dataset: str) -> PretrainSettings:
        """Length, batch and optimiser of pretraining on a data set, the same for every method."""
        length = self.datasets[dataset].pretrain
        return self.pretrain if length is None else self.pretrain.for_length(length)

    def augmentation_of(self, dataset: str) -> Augmentation:
        """The pretraining views of a data set, without the flips that make no sense for it."""
        return self._views(dataset, self.augmentation, self.datasets[dataset].augmentation)

    def finetune_augmentation_of(self, dataset: str) -> Augmentation:
        """The fine-tuning images of a data set, without the flips that make no sense for it."""
        return self._views(dataset, self.finetune_augmentation, self.datasets[dataset].finetune_augmentation)

    def written_settings(self, method: str, dataset: str | None = None) -> dict[str, Any]:
        """Hyper-parameters of a method as written: for all data sets, or with what differs on one."""
        different = {} if dataset is None else self.datasets[dataset].methods.get(method, {})
        return self.methods[method] | different

    def _views(self, dataset: str, common: Augmentation, different: Augmentation | None) -> Augmentation:
        settings = self.datasets[dataset]
        augmentation = common if different is None else common.changed_by(different)
        forbidden = [flip for flip in FLIPS if not getattr(settings, flip)]
        return augmentation.model_copy(update=dict.fromkeys(forbidden, 0.0))


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


def _check_initialisations(
    initialisations: dict[str, str | dict[str, str]], methods: dict[str, dict[str, Any]], datasets: list[str]
) -> None:
    """Refuse names that lead nowhere, and files for data sets that are not there."""
    if RANDOM in initialisations:
        raise ValueError(f"initialisations.{RANDOM} needs another name; that one needs no file")
    for name, files in initialisations.items():
        for dataset in files if isinstance(files, dict) else ():
            if dataset not in datasets:
                raise ValueError(
                    f"initialisations.{name}.{dataset} is no data set; they are: {', '.join(datasets)}"
                )
    known = [RANDOM, *initialisations]
    for method, row in methods.items():
        if INITIALISATION_KEY in row and row[INITIALISATION_KEY] not in known:
            raise ValueError(
                f"methods.{method}.{INITIALISATION_KEY} is {row[INITIALISATION_KEY]!r}; there are: "
                f"{', '.join(known)}. A file is named in the section initialisations"
            )


def _check_values_of(dataset: str, settings: DatasetSettings, methods: list[str]) -> None:
    """Refuse values for one data set that nothing would read."""
    for method, different in settings.methods.items():
        if method not in methods:
            raise ValueError(
                f"datasets.{dataset}.methods.{method} is no method; the methods are: {', '.join(methods)}"
            )
        for key in ROW_KEYS:
            if key in different:
                raise ValueError(
                    f"datasets.{dataset}.methods.{method}.{key} is the same on every data set; set it in "
                    f"methods.{method}"
                )
    for section in ("augmentation", "finetune_augmentation"):
        different = getattr(settings, section)
        flips = {} if different is None else different.model_dump(exclude_unset=True, include=FLIPS)
        for flip, share in flips.items():
            if share > 0 and not getattr(settings, flip):
                raise ValueError(
                    f"datasets.{dataset}.{section}.{flip} would do nothing, as datasets.{dataset}.{flip} is "
                    "false; remove it, or set that to true"
                )


def hyperparameters(row: dict[str, Any]) -> dict[str, Any]:
    """What is written in a method's row for its class."""
    return {name: value for name, value in row.items() if name not in ROW_KEYS}


def values(settings: BaseModel) -> dict[str, Any]:
    """Settings as plain values, defaults included: what goes into a cell's key."""
    return settings.model_dump(mode="json")
