"""Settings of the data sets, one class per source."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainSerializer

from imssl.errors import UNPRINTABLE
from imssl.settings.augmentation import Augmentation
from imssl.settings.base import Settings, is_empty
from imssl.settings.pretraining import PretrainLength


def _without_control_characters(path: str) -> str:
    if "\0" in path:
        raise ValueError("holds a zero byte, which no path may; remove it")
    if UNPRINTABLE.search(path):
        raise ValueError("holds a control character or a line break; rename the file or folder")
    return path


FilePath = Annotated[str, Field(min_length=1), AfterValidator(_without_control_characters)]


def _as_written(augmentation: Augmentation) -> dict[str, Any]:
    return augmentation.model_dump(mode="json", exclude_unset=True)


# Of an augmentation for one data set only what is written counts; the rest is as for all data sets.
AugmentationChanges = Annotated[Augmentation, PlainSerializer(_as_written)]


def _is_pad(value: object) -> bool:
    return value == "pad"


Grey = Annotated[int, Field(ge=-65535, le=65535)]


def _is_ascending(window: tuple[int, int]) -> tuple[int, int]:
    if window[0] >= window[1]:
        raise ValueError("must rise, for example [0, 4095]")
    return window


GreyWindow = Annotated[tuple[Grey, Grey], AfterValidator(_is_ascending)]


class DatasetSettings(Settings):
    """What every source shares.

    The last four attributes are values of other sections that are different on this data set, and on it the
    same for every method. They decide how it is trained on and not what is prepared.

    Attributes:
        source: which adapter reads it; every source has a name of its own.
        size: side of the prepared square images, in pixels.
        channels: 1 for grey, 3 for colour.
        horizontal_flip: whether augmentation may mirror an image left-right.
        vertical_flip: whether augmentation may mirror an image upside down.
        split_seed: of the patient-level split, where the source has no official one.
        on_bad_image: ``error`` stops at corrupt, missing or duplicate files; ``skip`` leaves them out and
            lists them in the data card.
        fit: how images that are not square become square: ``pad`` adds black, ``crop`` keeps the middle,
            ``stretch`` changes the aspect ratio.
        window: lowest and highest value of 16-bit greys, which become black and white; without it, the range
            of the bit depth that the values of an image need (`imssl.datasets.images.decode`). For DICOM it
            means values after the modality LUT (Hounsfield units for CT), and replaces the file's own window.
        follow_links: folders outside the data set's own in which links may end, for example DVC's cache.
        pretrain: length of pretraining on this data set.
        augmentation: values of the pretraining views that differ.
        finetune_augmentation: values of the fine-tuning images that differ.
        methods: hyper-parameters that differ, by method id.
    """

    source: str
    size: int = Field(ge=8, le=1024)
    channels: Literal[1, 3]
    horizontal_flip: bool
    vertical_flip: bool
    split_seed: int = Field(default=0, ge=0)
    on_bad_image: Literal["error", "skip"] = "error"
    fit: Literal["pad", "stretch", "crop"] = Field(default="pad", exclude_if=_is_pad)
    window: GreyWindow | None = Field(default=None, exclude_if=is_empty)
    follow_links: list[FilePath] = Field(default=[], exclude_if=is_empty)
    pretrain: PretrainLength | None = Field(default=None, exclude_if=is_empty)
    augmentation: AugmentationChanges | None = Field(default=None, exclude_if=is_empty)
    finetune_augmentation: AugmentationChanges | None = Field(default=None, exclude_if=is_empty)
    methods: dict[str, dict[str, Any]] = Field(default={}, exclude_if=is_empty)


class PhantomSettings(DatasetSettings):
    """A procedural data set, made from a seed.

    Attributes:
        kind: what the images resemble.
        patients: number of patients; each has several images.
        seed: of the images.
    """

    source: Literal["phantom"]
    kind: Literal["chest", "histology", "fundus"]
    patients: int = Field(ge=10, le=1_000_000)
    seed: int = Field(ge=0)


class MedmnistSettings(DatasetSettings):
    """A 2D set of MedMNIST v2 (Yang et al. 2023).

    Attributes:
        flag: MedMNIST's name of the set, for example ``retinamnist``.
        resolution: which of MedMNIST's sizes is read.
        path: folder that holds the npz file, or into which it is downloaded.
    """

    source: Literal["medmnist"]
    flag: str = Field(pattern=r"^[a-z0-9]+$")
    resolution: Literal[28, 64, 128, 224]
    path: FilePath


class NihSettings(DatasetSettings):
    """NIH ChestX-ray14 (Wang et al. 2017).

    Attributes:
        path: folder or zip with ``images*/*.png`` and ``Data_Entry_2017.csv``.
    """

    source: Literal["nih"]
    path: FilePath


class IdcSettings(DatasetSettings):
    """IDC breast histopathology (Cruz-Roa et al. 2014; Janowczyk and Madabhushi 2016).

    Attributes:
        path: folder or zip with ``<patient>/<class>/*.png``.
        split_file: CSV with columns ``patient_id`` and ``split``; without one the split is drawn.
    """

    source: Literal["idc"]
    path: FilePath
    split_file: FilePath | None = None


class EyepacsSettings(DatasetSettings):
    """EyePACS, Kaggle's diabetic retinopathy detection (2015).

    Attributes:
        path: folder or zip with ``trainLabels.csv`` and ``<id>_left.jpeg``, ``<id>_right.jpeg``.
        grading: ``binary`` is referable retinopathy (grade 2 and above), ``five`` the grades themselves.
    """

    source: Literal["eyepacs"]
    path: FilePath
    grading: Literal["binary", "five"]


class KermanySettings(DatasetSettings):
    """Kermany's chest X-rays of children (Kermany et al. 2018), with three classes.

    Attributes:
        path: folder or zip with ``chest_xray/{train,val,test}/{NORMAL,PNEUMONIA}/*.jpeg``.
    """

    source: Literal["kermany"]
    path: FilePath


# What training alone reads; a change of it leaves the prepared images as they are.
TRAINING_KEYS = ("pretrain", "augmentation", "finetune_augmentation", "methods")
