"""What tests share: one thread, small phantom data sets prepared once, and a tiny encoder."""

import os
import signal
from collections.abc import Callable

# Before NumPy and torch are imported, and for every process that a test starts: the machine is shared by
# several workers, whose threads would wait for each other.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import pytest  # noqa: E402
import torch  # noqa: E402

from imssl.datasets.phantom import Kind, source  # noqa: E402
from imssl.datasets.prepare import prepare  # noqa: E402
from imssl.datasets.prepared import Prepared, read_prepared  # noqa: E402
from imssl.encoder import Encoder, new_encoder  # noqa: E402
from imssl.method import Batch, Method, TrainingSet  # noqa: E402
from imssl.settings.encoder import EncoderSettings  # noqa: E402
from imssl.torch_seeds import initialising  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """The machine is shared, and sums must not depend on how many cores it has."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> None:
    """A shell starts background jobs, such as a CI runner, and all their children with Ctrl-C ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Prepared]:
    """A prepared phantom data set of 40 patients; each is written once per session."""
    made: dict[tuple[str, int], Prepared] = {}

    def get(kind: Kind, size: int = 16) -> Prepared:
        if (kind, size) not in made:
            folder = tmp_path_factory.mktemp(kind)
            prepare(
                source(kind, patients=40, size=size, seed=0),
                name=kind,
                size=size,
                channels=1 if kind == "chest" else 3,
                split_seed=0,
                on_bad_image="error",
                folder=folder,
                threads=1,
            )
            made[kind, size] = read_prepared(folder)
        return made[kind, size]

    return get


@pytest.fixture(scope="session")
def chest(phantom: Callable[..., Prepared]) -> Prepared:
    """Multilabel, grey."""
    return phantom("chest")


@pytest.fixture(scope="session")
def histology(phantom: Callable[..., Prepared]) -> Prepared:
    """Binary, colour."""
    return phantom("histology")


@pytest.fixture(scope="session")
def fundus(phantom: Callable[..., Prepared]) -> Prepared:
    """Ordinal, colour."""
    return phantom("fundus")


@pytest.fixture(scope="session")
def tiny() -> EncoderSettings:
    """The smallest encoder that the settings allow."""
    return EncoderSettings(name="resnet18", stem="imagenet", width=8)


@pytest.fixture
def encoder(tiny: EncoderSettings) -> Encoder:
    """A tiny encoder of colour images, as initialised."""
    return new_encoder(tiny, 3, seed=0)


@pytest.fixture
def make_method(tiny: EncoderSettings) -> Callable[..., Method]:
    """A method around a new tiny encoder, initialised as `pretrain` does it; settings by name."""

    def make(
        method: type[Method],
        training_images: int = 1000,
        seed: int = 0,
        channels: int = 3,
        pixels: int = 16,
        groups: torch.Tensor | None = None,
        **settings: object,
    ) -> Method:
        if groups is None:
            groups = torch.arange(training_images)
        training_set = TrainingSet(training_images, channels, pixels, 16, 8, groups)
        with initialising(seed, "method"):
            return method(new_encoder(tiny, channels, seed), method.settings_class(**settings), training_set)

    return make


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """A batch of random views; the same arguments give the same values."""

    def make(
        size: int = 16, pixels: int = 16, step: int = 0, channels: int = 3, view_count: int = 2
    ) -> Batch:
        draw = torch.Generator().manual_seed(step)
        images = torch.randn(size, channels, pixels, pixels, generator=draw)
        views = tuple(images + 0.3 * torch.randn(images.shape, generator=draw) for _ in range(view_count))
        index = size * step + torch.arange(size)
        return Batch(views, images, index, torch.Generator().manual_seed(1000 + step), step, step / 8)

    return make
