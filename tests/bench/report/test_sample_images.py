"""Which images a data set's page shows."""

import base64
import io

import numpy as np
from PIL import Image

from bench.cells.files import data_folder
from bench.protocol.protocol import read_protocol
from bench.report.material import sample_images
from imssl.datasets.prepared import read_prepared


def test_every_training_patient_is_shown_before_any_is_shown_twice(prepared_project, monkeypatch):
    protocol = read_protocol()
    dataset = next(iter(protocol.datasets))
    prepared = read_prepared(data_folder(dataset))
    training = prepared.indices("train")
    patient_of = {prepared.images[row].tobytes(): prepared.patients()[row] for row in training}
    patients = set(patient_of.values())
    assert len(patients) < len(training)
    monkeypatch.setattr(sample_images, "IMAGES", len(patients))
    strip = sample_images.sample_strip(dataset, protocol)
    contents = [base64.b64decode(original.address.split(",")[1]) for original, *_ in strip.images]
    pixels = [np.asarray(Image.open(io.BytesIO(content))) for content in contents]
    assert {patient_of[image.tobytes()] for image in pixels} == patients
