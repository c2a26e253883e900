import io
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imssl.datasets.source import RawSample, Source


@pytest.fixture
def samples_folder() -> Path:
    """The folder with samples of the real data sets; tests that need it are skipped where there is none."""
    default = Path(__file__).parents[3].parent / "shared" / "data"
    folder = Path(os.environ.get("IMSSL_DATA_DIR", default))
    if not folder.is_dir():
        pytest.skip("no samples of real data here (IMSSL_DATA_DIR)")
    return folder


@pytest.fixture
def png() -> Callable[..., bytes]:
    """Make the bytes of an image file of random pixels."""

    def make(seed: int, height: int = 9, width: int = 9, mode: str = "RGB", kind: str = "PNG") -> bytes:
        generator = np.random.default_rng(seed)
        shape = (height, width) if mode == "L" else (height, width, len(mode))
        stream = io.BytesIO()
        Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(stream, kind)
        return stream.getvalue()

    return make


@pytest.fixture
def write_tree() -> Callable[[Path, Mapping[str, bytes | str]], Path]:
    """Write files below a folder, or into a zip if the path ends with .zip."""

    def write(path: Path, files: Mapping[str, bytes | str]) -> Path:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path, "w") as archive:
                for name, content in files.items():
                    archive.writestr(name, content)
            return path
        for name, content in files.items():
            file = path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def make_source() -> Callable[..., Source]:
    """Make a source of random pixels: ``splits`` gives the number of images of each."""

    def make(
        splits: Mapping[str, int], task: str = "binary", patients: bool = True, **fields: object
    ) -> Source:
        samples = []
        for split, count in splits.items():
            for i in range(count):
                labels = {"multilabel": (i % 2, int(i % 3 == 0), 0)}.get(task, (i % 2,))
                patient = f"{split}-p{i // 2}" if patients else ""
                samples.append(RawSample(f"{split}-{i:03d}", patient, split, labels))

        def read(sample: RawSample) -> np.ndarray:
            seed = int.from_bytes(sample.id.encode())
            return np.random.default_rng(seed).integers(0, 256, (7, 5, 3), dtype=np.uint8)

        defaults = {
            "origin": "made up",
            "task": task,
            "classes": {"binary": ("no", "yes")}.get(task, ("a", "b", "c")),
            "description": "Noise.",
            "citation": "none",
            "licence": "none",
            "url": "",
            "samples": samples,
            "read": read,
        }
        return Source(**(defaults | fields))

    return make
