"""params.yaml as typed values: everything that decides a number, refused where it cannot be right."""

import itertools
import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

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

PARAMS = Path("params.yaml")

# Ids become folder names, stage names and anchors of the report.
Id = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=40)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class ReportSettings(Settings):
    """How results are summarised.

    Attributes:
        baseline: method that the others are compared with.
        resamples: of the bootstrap over patients.
        level: nominal coverage of the intervals.
    """

    baseline: Id
    resamples: int = Field(ge=100, le=1_000_000)
    level: float = Field(gt=0.5, lt=1)


class Protocol(Settings):
    """The whole of params.yaml. Methods are kept as written; bench.registry gives them their types.

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
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: {self.seeds} names a seed twice")
        if sorted(set(self.label_fractions)) != self.label_fractions or self.label_fractions[-1] != 1:
            raise ValueError(
                f"label_fractions: {self.label_fractions} must ascend and end with 1.0, the reference of KS"
            )
        if self.report.baseline not in self.methods:
            raise ValueError(
                f"report.baseline: {self.report.baseline} is not among the methods {list(self.methods)}"
            )
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
    content = read_params(path)
    try:
        return Protocol.model_validate_json(json.dumps(content, default=str), strict=True)
    except ValidationError as error:
        raise UserError(explain(error, content, str(path))) from None


def read_params(path: Path = PARAMS) -> CommentedMap:
    """params.yaml as written, comments included.

    Raises:
        UserError: the file is missing or is not a YAML mapping.
    """
    try:
        content = YAML().load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path} not found. Run this in the project's folder, or write it with: bench profile use demo"
        ) from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not readable YAML: {error}") from None
    if not isinstance(content, CommentedMap):
        raise UserError(
            f"{path} must hold sections such as datasets: and methods:, but holds {type(content).__name__}."
        )
    return content


def explain(
    error: ValidationError, content: CommentedMap, file: str, prefix: tuple[str | int, ...] = ()
) -> str:
    """Each refused value of a validation error on a line: file, line, key, value, what is allowed."""
    lines = []
    for problem in error.errors():
        place = prefix + tuple(part for part in problem["loc"] if _names_a_key(content, prefix, part))
        line, key = _line(content, place), ".".join(str(part) for part in place)
        where = f"{file}, line {line}" if line else file
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "is not a known key here; remove it or mend its spelling"
        elif problem["type"] == "missing":
            message = "is missing"
        elif problem["type"] != "value_error":
            given = problem["input"]
            shown = json.dumps(given, default=str) if not isinstance(given, dict) else "a mapping"
            message = f"is {shown[:80]}; {message[0].lower()}{message[1:]}"
        lines.append(f"{where}: {key + ' ' if key else ''}{message}.")
    return "\n".join(lines)


def _names_a_key(content: Any, prefix: tuple[str | int, ...], part: str | int) -> bool:
    # Pydantic puts the chosen member of a union ("phantom") and "[key]" into the location; neither is a key.
    return part not in {"phantom", "medmnist", "nih", "idc", "eyepacs", "[key]"} or _contains(
        content, prefix, part
    )


def _contains(content: Any, prefix: tuple[str | int, ...], part: str | int) -> bool:
    for step in prefix:
        content = content[step]
    return isinstance(content, dict) and part in content


def _line(content: Any, place: tuple[str | int, ...]) -> int | None:
    line = None
    for part in place:
        if isinstance(content, CommentedMap) and part in content:
            line = content.lc.key(part)[0] + 1
        elif isinstance(content, CommentedSeq) and isinstance(part, int) and part < len(content):
            line = content.lc.item(part)[0] + 1
        else:
            break
        content = content[part]
    return line


def _check_stage_names(datasets: list[str], methods: list[str]) -> None:
    # DVC names a matrix stage "<data set>-<method>" and silently merges two that come out alike.
    names: dict[str, tuple[str, str]] = {}
    for pair in itertools.product(datasets, methods):
        name = "-".join(pair)
        if name in names:
            raise ValueError(
                f"data set {names[name][0]} with method {names[name][1]}, and {pair[0]} with {pair[1]}, "
                f"would both be the stage {name}; rename one of them"
            )
        names[name] = pair


def values(settings: BaseModel) -> dict[str, Any]:
    """Settings as plain values, defaults included: what goes into a cell's key."""
    return settings.model_dump(mode="json")
