"""DICOM images: from stored values to the 8 bits that a viewer would show (DICOM PS3.3, C.7.6.3 and C.11)."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.errors import InvalidDicomError
from pydicom.pixels import (
    apply_color_lut,
    apply_modality_lut,
    apply_voi_lut,
    apply_windowing,
    get_decoder,
    pixel_array,
)
from pydicom.uid import UID

from imssl.datasets.images import check_size
from imssl.datasets.source import BadImage
from imssl.errors import UserError, first_line

PREAMBLE = 128
MAGIC = b"DICM"
SUFFIXES = (".dcm", ".dicom", ".ima")
GREYS = ("MONOCHROME1", "MONOCHROME2")
# Far outside every window, so that what comes out is the end of the range that a viewer shows.
FAR = 1e9
# Such text would lead to a person, and samples.csv is passed on.
IDENTIFYING = {"PatientID", "PatientBirthDate", "OtherPatientIDs", "AccessionNumber", "PatientAddress"}
NEEDED = (
    *("PatientID", "IssuerOfPatientID", "BurnedInAnnotation", "DirectoryRecordSequence"),
    *("PhotometricInterpretation", "WindowWidth", "VOILUTSequence"),
)


@dataclass(frozen=True)
class Header:
    """What is read of a DICOM file besides its pixels.

    Attributes:
        patient: 16 digits of the SHA-256 of PatientID; empty where there is none. It hides the id from a
            glance, but whoever knows the possible ids can find out which one it is.
        attributes: text by keyword; empty where the file does not say.
        burned_in: what BurnedInAnnotation says: ``YES``, ``NO``, or empty.
        lacks_window: whether these are greys, and neither a window nor a VOI LUT says which are shown.
    """

    patient: str
    attributes: dict[str, str]
    burned_in: str
    lacks_window: bool


def is_dicom(content: bytes) -> bool:
    """Whether a file is DICOM, by its first 132 bytes and not by its name."""
    return content[PREAMBLE : PREAMBLE + len(MAGIC)] == MAGIC


def check_keywords(keywords: Sequence[str]) -> None:
    """Refuse attributes that DICOM does not know, or that would name a person.

    Raises:
        UserError: a keyword is unknown or identifies.
    """
    for keyword in keywords:
        tag = tag_for_keyword(keyword)
        if tag is None:
            raise UserError(
                f"attributes: {keyword} is neither a keyword of DICOM, such as PatientSex, PatientAge or "
                "ViewPosition, nor a named group of patient_pattern."
            )
        if keyword in IDENTIFYING or dictionary_VR(tag) == "PN":
            raise UserError(f"attributes: {keyword} identifies a person; leave it out.")


def read_header(content: bytes, name: str, keywords: Sequence[str]) -> Header:
    """Patient and attributes of a DICOM file.

    Args:
        content: of the file, at least up to its pixels.
        name: for the error.
        keywords: of DICOM, whose values become attributes.

    Raises:
        BadImage: it is not a readable DICOM file, or an index (DICOMDIR) instead of an image.
    """
    header = _parsed(content, name, only=[*NEEDED, *keywords])
    if "DirectoryRecordSequence" in header:
        raise BadImage(name, "is an index of DICOM files (DICOMDIR), not an image")
    patient = str(header.get("PatientID") or "").strip()
    issuer = str(header.get("IssuerOfPatientID") or "").strip()
    return Header(
        patient=hashlib.sha256(f"{issuer}\n{patient}".encode()).hexdigest()[:16] if patient else "",
        attributes={keyword: _text(header, keyword) for keyword in keywords},
        burned_in=str(header.get("BurnedInAnnotation") or "").strip().upper(),
        lacks_window=header.get("PhotometricInterpretation") in GREYS
        and not any(header.get(keyword) for keyword in ("WindowWidth", "VOILUTSequence")),
    )


def _text(header: Dataset, keyword: str) -> str:
    element = header.get(keyword)
    if element is None:
        return ""
    values = [element] if isinstance(element, str) or not hasattr(element, "__iter__") else list(element)
    text = "/".join(str(value).strip() for value in values)
    # An age is stored as 061Y, 018M, 003W or 010D; years are given as a number, the others as they are.
    return (
        str(int(text[:-1])) if keyword == "PatientAge" and text[:-1].isdigit() and text[-1] == "Y" else text
    )


def decode(content: bytes, name: str, window: tuple[float, float] | None) -> np.ndarray:
    """Pixels of a DICOM image as a viewer shows them.

    Greys go through the modality LUT (or RescaleSlope and RescaleIntercept), then through the given window,
    or the file's VOI LUT or first window; without any of these, the smallest value becomes black and the
    largest white. MONOCHROME1 is inverted, so that a large value is always bright. Pixels with
    PixelPaddingValue are black. Palettes and YBR become RGB.

    Args:
        content: of the file.
        name: for the error.
        window: lowest and highest value after the modality LUT (Hounsfield units for CT) that replace the
            file's own window.

    Returns:
        (H, W) for greys, (H, W, 3) for colours; uint8.

    Raises:
        BadImage: it is not DICOM, has no pixels or several frames, is compressed in a way for which no
            decoder is installed, or cannot be decoded.
    """
    dataset = _parsed(content, name)
    _check_decodable(dataset, name)
    try:
        stored = pixel_array(dataset)
        kind = str(dataset.PhotometricInterpretation)
        if kind in GREYS:
            return _as_shown(stored, dataset, window)
        if kind == "PALETTE COLOR":
            colours = apply_color_lut(stored, dataset)
            bits = int(dataset.RedPaletteColorLookupTableDescriptor[2])
        else:
            colours, bits = stored, int(dataset.BitsStored)
    except BadImage:
        raise
    except Exception as error:  # pydicom and its decoders raise many kinds of error on a damaged file
        raise BadImage(name, f"cannot be decoded as DICOM ({_first_line(error)})") from None
    return _scaled(colours.astype(np.float64), 0, 2**bits - 1)


def _parsed(content: bytes, name: str, only: Sequence[str] | None = None) -> Dataset:
    try:
        if only is None:
            return dcmread(io.BytesIO(content))
        return dcmread(io.BytesIO(content), stop_before_pixels=True, specific_tags=list(only))
    except InvalidDicomError:
        raise BadImage(name, "is not a DICOM file") from None
    except Exception as error:
        raise BadImage(name, f"is a damaged DICOM file ({_first_line(error)})") from None


def _check_decodable(dataset: Dataset, name: str) -> None:
    if "PixelData" not in dataset:
        raise BadImage(name, f"holds no image (modality {dataset.get('Modality') or 'not stated'})")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise BadImage(name, f"holds {frames} frames; export the one that is meant as a file of its own")
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    check_size(columns, rows, name)
    syntax = UID(dataset.file_meta.get("TransferSyntaxUID", ""))
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:  # pydicom's answer where it has no decoder of that name
        raise BadImage(name, f"has the transfer syntax {syntax.name}, which is not known here") from None
    if not decoder.is_available:
        needed = ", ".join(decoder.missing_dependencies)
        raise BadImage(name, f"is compressed as {syntax.name}, for which no decoder is installed ({needed})")


def _as_shown(stored: np.ndarray, dataset: Dataset, window: tuple[float, float] | None) -> np.ndarray:
    """(H, W) uint8 of stored greys."""
    padding = _is_padding(stored, dataset)
    values = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float64)
    if window is not None:
        low, high = window
    elif dataset.get("VOILUTSequence"):
        # The modality LUT's output indexes the table, so it is whole.
        values = np.asarray(apply_voi_lut(values.round().astype(np.int64), dataset), dtype=np.float64)
        low, high = 0.0, 2.0 ** int(dataset.VOILUTSequence[0].LUTDescriptor[2]) - 1
    elif dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None:
        values = apply_windowing(values, dataset)
        with np.errstate(over="ignore"):
            low, high = apply_windowing(np.array([-FAR, FAR]), dataset)
    else:
        shown = values[~padding] if not padding.all() else values
        low, high = shown.min(), shown.max()
    image = _scaled(values, low, high)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        image = 255 - image
    image[padding] = 0
    return image


def _is_padding(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """(H, W) bool: pixels that lie outside of what was imaged."""
    first = dataset.get("PixelPaddingValue")
    if first is None:
        return np.zeros(stored.shape, dtype=bool)
    last = dataset.get("PixelPaddingRangeLimit")
    limits = (int(first), int(first if last is None else last))
    return (stored >= min(limits)) & (stored <= max(limits))


def _scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    if high <= low:  # an image of one value
        return np.zeros(values.shape, dtype=np.uint8)
    return np.rint(np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def _first_line(error: Exception) -> str:
    return first_line(error)[:200]
