"""DICOM images, made by pydicom, against the formulas of the standard."""

import io

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import (
    MPEG2MPML,
    ExplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from imssl.datasets import dicom
from imssl.datasets.source import BadImage
from imssl.datasets.user_images import dicom_warnings
from imssl.errors import UserError

RAMP = np.arange(0, 4096, 64, dtype=np.uint16).reshape(8, 8)


@pytest.fixture
def dicom_file():
    """Make the bytes of a DICOM file of (H, W) or (H, W, 3) stored values."""

    def make(pixels=RAMP, bits=12, syntax=ExplicitVRLittleEndian, **elements):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = SecondaryCaptureImageStorage
        dataset.SOPInstanceUID = "1.2.3"
        dataset.Rows, dataset.Columns = pixels.shape[:2]
        dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
        dataset.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
        if pixels.ndim == 3:
            dataset.PlanarConfiguration = 0
        dataset.BitsAllocated = 8 * pixels.itemsize
        dataset.BitsStored, dataset.HighBit = bits, bits - 1
        dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
        dataset.PixelData = pixels.tobytes()
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        if syntax == RLELossless:
            dataset.compress(syntax)
        elif syntax != ExplicitVRLittleEndian:  # of content that nothing has to decode
            dataset.file_meta.TransferSyntaxUID = syntax
            dataset.PixelData = encapsulate([b"0123456789"])
        stream = io.BytesIO()
        dataset.save_as(stream, enforce_file_format=True)
        return stream.getvalue()

    return make


def test_a_window_is_the_formula_of_the_standard(dicom_file):
    """PS3.3 C.11.2.1.2.1, after RescaleSlope and RescaleIntercept."""
    shown = dicom.decode(
        dicom_file(RescaleSlope=2, RescaleIntercept=-1024, WindowCenter=2000, WindowWidth=3000), "a.dcm", None
    )
    units = RAMP.astype(float) * 2 - 1024
    expected = np.clip(((units - (2000 - 0.5)) / (3000 - 1) + 0.5) * 255, 0, 255)
    assert np.abs(shown - expected).max() <= 0.5 + 1e-6
    assert shown.dtype == np.uint8
    assert shown.min() == 0
    assert shown.max() == 255


def test_a_given_window_replaces_the_files_own(dicom_file):
    content = dicom_file(RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=400)
    shown = dicom.decode(content, "a.dcm", (-1000, 1000))
    expected = np.clip((RAMP.astype(float) - 1024 + 1000) / 2000, 0, 1) * 255
    assert np.abs(shown - expected).max() <= 0.5 + 1e-6


def test_without_a_window_the_range_of_the_image_is_shown(dicom_file):
    shown = dicom.decode(dicom_file(), "a.dcm", None)
    assert np.array_equal(shown, np.rint(RAMP / RAMP.max() * 255))


def test_monochrome1_is_inverted_and_padding_is_black(dicom_file):
    pixels = RAMP.copy()
    pixels[0, 0] = 4095
    plain = dicom.decode(dicom_file(pixels, PixelPaddingValue=4095), "a.dcm", None)
    inverted = dicom.decode(
        dicom_file(pixels, PixelPaddingValue=4095, PhotometricInterpretation="MONOCHROME1"), "a.dcm", None
    )
    assert plain[0, 0] == inverted[0, 0] == 0
    rest = np.ones(pixels.shape, dtype=bool)
    rest[0, 0] = False
    assert np.array_equal(inverted[rest], 255 - plain[rest])
    # The padding does not take part in the range.
    assert plain[7, 7] == 255


@pytest.mark.parametrize(("dtype", "bits"), [(np.uint8, 8), (np.uint16, 16), (np.int16, 16), (np.int16, 12)])
def test_depths_and_signs(dicom_file, dtype, bits):
    low, high = (0, 2**bits - 1) if np.dtype(dtype).kind == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    pixels = np.linspace(low, high, 64).astype(dtype).reshape(8, 8)
    shown = dicom.decode(dicom_file(pixels, bits), "a.dcm", None)
    expected = (pixels.astype(float) - low) / (high - low) * 255
    assert np.abs(shown - expected).max() <= 0.5 + 1e-6


def test_a_voi_lut_is_looked_up(dicom_file):
    lut = Dataset()
    lut.LUTDescriptor = [4096, 0, 16]
    table = (65535 - 16 * np.arange(4096)).astype(np.uint16)
    lut.add_new("LUTData", "OW", table.tobytes())
    shown = dicom.decode(dicom_file(VOILUTSequence=[lut]), "a.dcm", None)
    assert np.array_equal(shown, np.rint(table[RAMP] / 65535 * 255))


def test_colours_and_lossless_compression(dicom_file):
    colours = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    assert np.array_equal(dicom.decode(dicom_file(colours, 8), "a.dcm", None), colours)
    assert np.array_equal(dicom.decode(dicom_file(colours, 8, RLELossless), "a.dcm", None), colours)


def test_what_cannot_be_decoded_says_why(dicom_file):
    def reason(content):
        with pytest.raises(BadImage) as caught:
            dicom.decode(content, "a.dcm", None)
        return caught.value.reason

    assert "is not a DICOM file" in reason(b"no DICOM at all" * 100)
    assert "2 frames" in reason(dicom_file(np.zeros((16, 8), np.uint16), NumberOfFrames=2))
    for rows, columns, words in ((20_000, 20_000, "too many pixels"), (100, 40_000, "a side of more than")):
        assert words in reason(dicom_file(Rows=rows, Columns=columns))
    # No decoder of video is part of pydicom or of what it may use.
    assert "MPEG" in reason(dicom_file(syntax=MPEG2MPML))
    assert "not known here" in reason(dicom_file(syntax=MPEG2MPML))
    if not get_decoder(JPEGLSLossless).is_available:
        assert "JPEG-LS Lossless" in reason(dicom_file(syntax=JPEGLSLossless))
        assert "no decoder is installed" in reason(dicom_file(syntax=JPEGLSLossless))
    content = dicom_file()
    assert reason(content[: len(content) - 60])


def test_the_patient_is_hashed_and_attributes_are_text(dicom_file):
    content = dicom_file(PatientID="Doe-17", PatientSex="F", PatientAge="061Y", BurnedInAnnotation="YES")
    header = dicom.read_header(content, "a.dcm", ["PatientSex", "PatientAge", "ViewPosition"])
    assert header.attributes == {"PatientSex": "F", "PatientAge": "61", "ViewPosition": ""}
    assert header.burned_in == "YES"
    assert len(header.patient) == 16
    assert "17" not in header.patient or "Doe" not in header.patient
    other = dicom.read_header(dicom_file(PatientID="Doe-18"), "b.dcm", [])
    assert other.patient != header.patient
    assert dicom.read_header(dicom_file(), "c.dcm", []).patient == ""


def test_burned_in_text_and_missing_windows_are_warned_of_by_name(dicom_file):
    headers = {
        f"{n}.dcm": dicom.read_header(content, f"{n}.dcm", [])
        for n, content in enumerate(
            [
                dicom_file(BurnedInAnnotation="YES", WindowCenter=100, WindowWidth=50),
                dicom_file(BurnedInAnnotation="NO"),
                dicom_file(),
                dicom_file(pixels=np.zeros((8, 8, 3), np.uint8), bits=8),  # colours have no window
            ]
        )
    }
    burned_in, windows = dicom_warnings(headers, None)
    assert burned_in.startswith("Text is burned into the pixels of 1 of 4 DICOM images")
    assert "may name the patient: 0.dcm." in burned_in
    assert windows.startswith("No window is stated by 2 of 4 DICOM images: 1.dcm, 2.dcm.")
    assert dicom_warnings(headers, (0, 4095)) == [burned_in]
    assert dicom_warnings({"0.dcm": headers["0.dcm"]}, None) == [burned_in.replace("of 4", "of 1")]


@pytest.mark.parametrize("keyword", ["PatientName", "PatientID", "PatientBirthDate", "Sex"])
def test_attributes_that_identify_or_do_not_exist_are_refused(keyword):
    with pytest.raises(UserError, match=keyword):
        dicom.check_keywords([keyword])
