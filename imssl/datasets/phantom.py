"""Phantom data sets: procedural images that resemble medical ones but show no real patient.

They take the place of data that cannot be shipped. What carries the label (shapes, textures, lesions) is
mixed with what must not matter (exposure, stain, position, noise), and a patient's images share anatomy and
disease. Results on them show whether the suite works, and say nothing about medicine.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from imssl.datasets.source import RawSample, Source
from imssl.task import Task

Kind = Literal["chest", "histology", "fundus"]
IMAGES_PER_PATIENT = (2, 6)
RESEMBLES: dict[Kind, str] = {
    "chest": "chest X-rays with five findings",
    "histology": "stained tissue with benign or malignant nuclei",
    "fundus": "retinal photographs with five grades of lesions",
}


@dataclass(frozen=True)
class _Phantom:
    """How one kind of phantom is made.

    Attributes:
        task: kind of labels.
        classes: their names.
        labels: draws an image's labels from the patient's disease.
        draw: draws an image, (H, W) or (H, W, 3) float in about [0, 1].
    """

    task: Task
    classes: tuple[str, ...]
    labels: Callable[[np.random.Generator, float], tuple[int, ...]]
    draw: Callable[["_Canvas", np.random.Generator, np.random.Generator, tuple[int, ...]], np.ndarray]


def source(kind: Kind, patients: int, size: int, seed: int) -> Source:
    """A phantom data set; the same arguments give the same pixels.

    Args:
        kind: what the images resemble.
        patients: number of patients, with 2 to 6 images each.
        size: side of the images, in pixels.
        seed: of anatomy, disease and images.
    """
    phantom = PHANTOMS[kind]
    samples, origin = [], {}
    for patient in range(patients):
        draw = np.random.default_rng([seed, patient])
        severity = float(draw.beta(0.8, 1.2))
        for image in range(int(draw.integers(*IMAGES_PER_PATIENT, endpoint=True))):
            name = f"{kind}-{patient:05d}-{image}"
            samples.append(RawSample(name, f"{patient:05d}", "", phantom.labels(draw, severity)))
            origin[name] = (patient, image)

    def read(sample: RawSample) -> np.ndarray:
        patient, image = origin[sample.id]
        anatomy, shot = (
            np.random.default_rng([seed, patient, 1]),
            np.random.default_rng([seed, patient, 2, image]),
        )
        pixels = phantom.draw(_Canvas(size), anatomy, shot, sample.labels)
        return (np.clip(pixels, 0, 1) * 255).round().astype(np.uint8)

    return Source(
        origin=f"{kind} phantom",
        task=phantom.task,
        classes=phantom.classes,
        description=f"SYNTHETIC images that resemble {RESEMBLES[kind]}, drawn from seed {seed}.",
        citation="None: synthetic images, for testing the suite only.",
        licence="MIT, as the suite",
        url="",
        synthetic=True,
        samples=samples,
        read=read,
    )


class _Canvas:
    """Coordinates of a square image, from -1 to 1, and shapes with soft edges on them."""

    def __init__(self, size: int) -> None:
        axis = (np.arange(size) + 0.5) / size * 2 - 1
        self.y, self.x = np.meshgrid(axis, axis, indexing="ij")
        self.edge = 2.0 / size

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, angle: float = 0.0, soft: float = 1.0
    ) -> np.ndarray:
        """1 inside, 0 outside; the edge is ``soft`` pixels wide."""
        cos, sin = np.cos(angle), np.sin(angle)
        u = (self.x - x) * cos + (self.y - y) * sin
        v = (self.y - y) * cos - (self.x - x) * sin
        distance = (np.sqrt((u / rx) ** 2 + (v / ry) ** 2) - 1) * min(rx, ry)
        return 1 / (1 + np.exp(np.clip(distance / (self.edge * soft / 2), -30, 30)))

    def noise(self, draw: np.random.Generator, waves: int, low: float, high: float) -> np.ndarray:
        """Smooth noise of unit variance: plane waves with ``low`` to ``high`` half periods per side."""
        total = np.zeros_like(self.x)
        for _ in range(waves):
            frequency, direction, phase = (
                draw.uniform(low, high),
                draw.uniform(0, np.pi),
                draw.uniform(0, 2 * np.pi),
            )
            along = self.x * np.cos(direction) + self.y * np.sin(direction)
            total += np.cos(np.pi * frequency * along + phase)
        return total * np.sqrt(2 / waves)


# --- chest -------------------------------------------------------------------------------------------

CHEST = ("opacity", "nodule", "effusion", "enlarged heart", "interstitial")
CHEST_RATES = (0.55, 0.4, 0.4, 0.35, 0.4)


def _chest_labels(draw: np.random.Generator, severity: float) -> tuple[int, ...]:
    return tuple(int(draw.random() < rate * 2 * severity) for rate in CHEST_RATES)


def _draw_chest(
    canvas: _Canvas, anatomy: np.random.Generator, shot: np.random.Generator, labels: tuple[int, ...]
) -> np.ndarray:
    opacity, nodule, effusion, heart, interstitial = labels
    wide, tall = anatomy.uniform(0.29, 0.32), anatomy.uniform(0.62, 0.68)
    dx, dy = shot.normal(0, 0.04, 2)
    lungs = [canvas.ellipse(side * 0.42 + dx, dy - 0.05, wide, tall, side * 0.12, 2) for side in (-1, 1)]
    air = np.clip(lungs[0] + lungs[1], 0, 1)
    image = 0.75 * canvas.ellipse(dx, 0.1 + dy, 0.95, 1.1, 0, 3) - 0.5 * air
    ribs = np.cos(np.pi * anatomy.uniform(4.8, 5.2) * (canvas.y + 0.25 * canvas.x**2 + dy))
    image += shot.uniform(0.02, 0.08) * ribs * air
    # Not a finding: how high the diaphragm stands, on both sides alike.
    image += 0.3 * air / (1 + np.exp(-(canvas.y - dy - shot.uniform(0.3, 0.7)) / 0.08))
    width = anatomy.uniform(0.26, 0.29) * (1.4 if heart else 1.0) * shot.uniform(0.92, 1.08)
    image += 0.4 * canvas.ellipse(0.08 + dx, 0.32 + dy, width, 0.34, 0.4, 3) * (0.4 + 0.6 * air)

    def in_a_lung() -> tuple[float, float]:
        side = shot.choice([-1, 1])
        return side * 0.42 + dx + shot.uniform(-0.22, 0.22), dy + shot.uniform(-0.55, 0.45)

    if opacity:
        image += shot.uniform(0.08, 0.14) * np.clip(canvas.noise(shot, 12, 2, 5), -0.5, 2) * air
    for _ in range(int(shot.integers(4, 9)) if nodule else 0):
        x, y = in_a_lung()
        radius = shot.uniform(0.06, 0.1)
        image += shot.uniform(0.15, 0.28) * canvas.ellipse(x, y, radius, radius, 0, 1)
    if effusion:
        side, level = int(shot.choice([0, 1])), shot.uniform(0.15, 0.4)
        image += shot.uniform(0.15, 0.3) * lungs[side] / (1 + np.exp(-(canvas.y - dy - level) / 0.05))
    if interstitial:
        image += shot.uniform(0.04, 0.08) * canvas.noise(shot, 24, 9, 14) * air
    return _exposed(shot, image[..., None], noise=0.04)[..., 0]


# --- histology ---------------------------------------------------------------------------------------


# What the two stains absorb of red, green and blue, as optical densities.
HAEMATOXYLIN = np.array([0.65, 0.70, 0.29])
EOSIN = np.array([0.07, 0.75, 0.35])


def _histology_labels(draw: np.random.Generator, severity: float) -> tuple[int, ...]:
    return (int(draw.random() < 0.1 + 0.8 * severity),)


def _draw_histology(
    canvas: _Canvas, anatomy: np.random.Generator, shot: np.random.Generator, labels: tuple[int, ...]
) -> np.ndarray:
    (carcinoma,) = labels
    # How malignant the tissue looks. The classes overlap: some benign tissue looks worse than some carcinoma.
    atypia = carcinoma + shot.normal(0, 0.4)
    # Malignant tissue takes more of the blue stain and less of the pink one, so hue carries the label, which
    # survives any exposure.
    haematoxylin = np.full_like(canvas.x, np.clip(0.15 + 0.4 * atypia, 0.05, 0.9))
    eosin = np.clip(0.9 - 0.4 * atypia, 0.1, 1.2) * (1 + 0.12 * canvas.noise(shot, 8, 2, 5))
    # Malignant nuclei are fewer and larger.
    for _ in range(max(4, int(shot.poisson(16 * 0.7**atypia)))):
        x, y = shot.uniform(-1.1, 1.1, 2)
        radius = 0.13 * 1.3**atypia * np.exp(shot.normal(0, 0.2))
        stretch = np.exp(shot.normal(0, 0.15))
        nucleus = canvas.ellipse(x, y, radius * stretch, radius / stretch, shot.uniform(0, np.pi), 1)
        haematoxylin = haematoxylin * (1 - nucleus) + 1.2 * nucleus
    thickness = np.exp(shot.normal(0, 0.1))
    absorbed = thickness * (haematoxylin[..., None] * HAEMATOXYLIN + eosin[..., None] * EOSIN)
    return _photographed(shot, np.exp(-absorbed))


# --- fundus ------------------------------------------------------------------------------------------

GRADES = ("0 none", "1 mild", "2 moderate", "3 severe", "4 proliferative")
SPOTS = (0.5, 5, 10, 17, 24)
EXUDATES = (0, 1, 4, 8, 12)


def _fundus_labels(draw: np.random.Generator, severity: float) -> tuple[int, ...]:
    grade = np.searchsorted([0.2, 0.38, 0.58, 0.8], severity + draw.normal(0, 0.05))
    return (int(grade),)


def _draw_fundus(
    canvas: _Canvas, anatomy: np.random.Generator, shot: np.random.Generator, labels: tuple[int, ...]
) -> np.ndarray:
    (grade,) = labels
    # How ill the retina looks. Neighbouring grades overlap.
    stage = grade + shot.normal(0, 0.5)
    # Fluid in it makes it yellower, so hue carries the grade, which survives any exposure.
    base = np.array([0.8, 0.24 + 0.08 * stage, 0.14 + 0.015 * stage])
    light = 1 + 0.1 * (shot.normal() * canvas.x + shot.normal() * canvas.y)
    image = base * light[..., None]
    side = shot.choice([-1, 1])
    disc_x, disc_y = side * shot.uniform(0.45, 0.55), shot.uniform(-0.08, 0.08)
    for tilt in (-0.9, -0.35, 0.35, 0.9):
        bend = anatomy.normal(0, 0.2)
        u = canvas.x - disc_x
        centre = disc_y + tilt * u + bend * u**2
        vessel = np.exp(-(((canvas.y - centre) / 0.035) ** 2)) * (u * side < 0)
        image -= 0.12 * vessel[..., None] * np.array([0.7, 0.6, 0.4])
    disc = canvas.ellipse(disc_x, disc_y, 0.15, 0.17, 0, 2)[..., None]
    image = image * (1 - disc) + np.array([0.95, 0.8, 0.5]) * disc

    def lesions(count: int, low: float, high: float, colour: np.ndarray) -> None:
        nonlocal image
        for _ in range(count):
            angle, distance = shot.uniform(0, 2 * np.pi), np.sqrt(shot.uniform(0.02, 0.8))
            x, y, radius = distance * np.cos(angle), distance * np.sin(angle), shot.uniform(low, high)
            spot = 0.85 * canvas.ellipse(x, y, radius, radius * shot.uniform(0.7, 1.4), shot.uniform(0, 3), 1)
            image = image * (1 - spot[..., None]) + colour * spot[..., None]

    lesions(int(shot.poisson(SPOTS[grade])), 0.05, 0.09, np.array([0.35, 0.06, 0.05]))
    lesions(int(shot.poisson(EXUDATES[grade])), 0.05, 0.1, np.array([0.95, 0.85, 0.45]))
    if grade == 4:
        x, y = shot.uniform(-0.4, 0.4, 2)
        bleeding = 0.7 * canvas.ellipse(x, y, 0.3, 0.18, shot.uniform(0, 3), 5)[..., None]
        image = image * (1 - bleeding) + np.array([0.3, 0.05, 0.04]) * bleeding
    visible = canvas.ellipse(0, 0, 0.97, 0.97, 0, 1)[..., None]
    return _photographed(shot, image) * visible


# --- exposure ----------------------------------------------------------------------------------------


def _exposed(shot: np.random.Generator, image: np.ndarray, noise: float) -> np.ndarray:
    """A grey image with the nuisances that every radiograph has: gain, gamma and noise."""
    exposed = np.clip(image, 0, None) ** np.exp(shot.normal(0, 0.25)) * np.exp(shot.normal(0, 0.12))
    return exposed + shot.normal(0, noise * shot.uniform(0.5, 1.5), image.shape) + shot.normal(0, 0.03)


def _photographed(shot: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """A colour image with the nuisances of a camera: colour cast, contrast, gain and noise.

    Gain and contrast differ more from image to image than the label shows, and augmentation removes them: a
    method that learns to ignore them needs fewer labels than an encoder that has learnt nothing. The task is
    easy, as the mean colour all but gives the label away; what takes long to learn has no place in a demo.
    """

    def factor(deviation: float, colours: int = 1) -> np.ndarray:
        # Within two deviations: beyond them some images would be all black or white.
        return np.exp(deviation * np.clip(shot.normal(size=colours), -2, 2))

    exposed = image * factor(0.02, image.shape[-1])
    mean = exposed.mean(axis=(0, 1))
    exposed = mean + (exposed - mean) * factor(0.15) * 0.9
    # Dark enough that a brighter view is not white, which would have no hue.
    return exposed * factor(0.2) * 0.6 + shot.normal(0, 0.02, image.shape)


PHANTOMS: dict[Kind, _Phantom] = {
    "chest": _Phantom("multilabel", CHEST, _chest_labels, _draw_chest),
    "histology": _Phantom("binary", ("benign", "carcinoma"), _histology_labels, _draw_histology),
    "fundus": _Phantom("ordinal", GRADES, _fundus_labels, _draw_fundus),
}
