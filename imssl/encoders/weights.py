"""Weights from a file into an encoder, whoever trained them: names are mapped by rules, never guessed.

The rules, in order:

1. The file is safetensors, or a state dict that ``torch.load`` reads with ``weights_only=True``. In it the
   weights stand at the top, or under one of ``CONTAINERS``.
2. Of ``PREFIXES`` that one is taken off which leaves the most names of the encoder, with one of ``LAYOUTS``:
   torchvision's and timm's own names, or the numbers that lightly's ``nn.Sequential`` of a ResNet has.
3. A first layer for three channels is summed to one for grey images: a grey image shown three times gives
   the same sums. A ViT's position embedding is resampled from the file's grid of patches to the encoder's.
4. Every name of the encoder must be there with its shape. What belongs to a head, a key encoder or an
   optimiser is not used, and is listed; a deeper network than the encoder is refused.
"""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from imssl.encoders.encoder import Encoder
from imssl.encoders.resnet import ResNet
from imssl.errors import UserError, first_line
from imssl.regular_file import read_regular

# Under which a training script keeps the weights, beside the optimiser's state and the like.
CONTAINERS = ("state_dict", "model_state_dict", "model")
# Of equally good ones the first is taken.
PREFIXES = (
    "",  # torchvision, timm, this suite
    "module.encoder_q.",  # MoCo, trained on several GPUs
    "encoder_q.",
    "module.base_encoder.",  # MoCo v3
    "base_encoder.",
    "backbone.",  # lightly
    "model.backbone.",
    "module.backbone.",
    "student_backbone.",  # lightly's DINO
    "encoder.",
    "module.",
    "model.",
    "backbone.vit.",
)


@dataclass(frozen=True)
class ResNetNames:
    """How a library names the modules of a ResNet.

    Attributes:
        renamed: what a name begins with in the file, or has in its middle, and what torchvision calls it.
        stem_relu: whether a ReLU follows the stem's batch norm; None where the names do not tell.
    """

    renamed: Mapping[str, str]
    stem_relu: bool | None = None


_SHORTCUT = {".shortcut.": ".downsample."}
LAYOUTS = (
    ResNetNames({}),
    # torchvision's children by number, as in lightly's examples.
    ResNetNames(
        {"0.": "conv1.", "1.": "bn1.", "4.": "layer1.", "5.": "layer2.", "6.": "layer3.", "7.": "layer4."},
        stem_relu=True,
    ),
    # lightly's ResNetGenerator, which has another word for the projection beside a block.
    ResNetNames(_SHORTCUT, stem_relu=True),
    # Its children by number. Its forward calls the stem's ReLU as a function, which an nn.Sequential of the
    # children loses: it is another network, and what was trained in it needs an encoder without this ReLU.
    ResNetNames(
        {"0.": "conv1.", "1.": "bn1.", "2.": "layer1.", "3.": "layer2.", "4.": "layer3.", "5.": "layer4."}
        | _SHORTCUT,
        stem_relu=False,
    ),
)
# Modules in which a classifier or projection head is kept beside the encoder.
HEADS = ("fc", "head", "head_dist", "heads", "classifier", "last_linear", "linear", "pre_logits")
# A count of batches, which nothing reads; files older than it lack it.
OPTIONAL = "num_batches_tracked"
TIMM_MODEL = "model."


@dataclass(frozen=True)
class LoadedWeights:
    """How a file was read into an encoder.

    Attributes:
        file: its name.
        sha256: of its content.
        prefix: that was taken off its names.
        summed: the first layer, where its three channels were summed to one; otherwise empty.
        resampled: weights whose grid of places was another, with the numbers of places before and after.
        unused: names in the file that the encoder does not have.
    """

    file: str
    sha256: str
    prefix: str
    summed: str
    resampled: tuple[str, ...]
    unused: tuple[str, ...]

    @property
    def words(self) -> str:
        """What a user should know of it, in a few lines."""
        lines = [f"{self.file}: every weight of the encoder is there (SHA-256 {self.sha256})."]
        if self.prefix:
            lines.append(f"Names were read without {self.prefix!r}.")
        if self.summed:
            lines.append(f"{self.summed} has three channels, which are summed to one.")
        lines += self.resampled
        if self.unused:
            lines.append(f"Not used, {len(self.unused)} of the file's names: {', '.join(self.unused)}")
        return "\n".join(lines)


def load_weights(encoder: Encoder, file: Path) -> LoadedWeights:
    """Replace all weights and running statistics of an encoder by those of a file.

    Args:
        encoder: on the CPU.
        file: safetensors or a state dict.

    Raises:
        UserError: the file cannot be read, is not of this architecture, or holds a number that cannot be
            right; the encoder is as it was.
    """
    content = _content(file)
    state = _state(file, content)
    expected = {_bare(name): name for name in encoder.state_dict()}
    prefix, layout, names = _best_mapping(list(state), expected)
    _refuse_another_stem(file, encoder, layout)
    weights, summed = _fitting(encoder, {expected[bare]: state[name] for bare, name in names.items()})
    weights, resampled = _resampled(encoder, weights)
    unused = tuple(sorted(set(state) - set(names.values())))
    kept = [_renamed(name.removeprefix(prefix), layout) for name in unused if name.startswith(prefix)]
    _refuse_incomplete(file, encoder, weights, unused, kept)
    _refuse_impossible(file, weights)
    # Strictly, but for the counts of batches that an old file lacks.
    encoder.load_state_dict(encoder.state_dict() | weights)
    return LoadedWeights(str(file), hashlib.sha256(content).hexdigest(), prefix, summed, resampled, unused)


def _content(file: Path) -> bytes:
    try:
        return read_regular(file)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}.") from None


def _state(file: Path, content: bytes) -> dict[str, Tensor]:
    """All tensors of a file by name.

    Raises:
        UserError: it is neither safetensors nor a state dict.
    """
    if file.suffix == ".safetensors":
        try:
            return load(content)
        except (SafetensorError, ValueError, KeyError) as error:
            raise UserError(f"{file} is not a whole safetensors file ({error}).") from None
    try:
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a torn file, no torch file at all, or objects that would have to be run
        raise UserError(
            f"{file} cannot be read as a state dict ({first_line(error)}). Nothing but tensors is "
            "loaded from a file; save the state dict alone: torch.save(model.state_dict(), FILE), or as "
            "safetensors."
        ) from None
    return _tensors(file, loaded)


def _tensors(file: Path, loaded: Any) -> dict[str, Tensor]:
    for container in CONTAINERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(container), Mapping):
            loaded = loaded[container]
    if isinstance(loaded, Mapping):
        tensors = {str(name): value for name, value in loaded.items() if isinstance(value, Tensor)}
        if tensors:
            return tensors
    raise UserError(
        f"{file} holds no state dict: tensors by name are looked for at the top, and under "
        f"{', '.join(CONTAINERS)}, but there is {_described(loaded)}."
    )


def _described(loaded: Any) -> str:
    if isinstance(loaded, Mapping):
        return f"a mapping of {', '.join(map(str, list(loaded)[:8])) or 'nothing'}"
    return f"a {type(loaded).__name__}"


def _bare(name: str) -> str:
    """A name of the encoder as torchvision or timm has it."""
    return name.removeprefix(TIMM_MODEL)


def _best_mapping(names: list[str], expected: Mapping[str, str]) -> tuple[str, ResNetNames, dict[str, str]]:
    """Prefix and layout that leave the most names of the encoder, and the file's name for each of them."""
    best: tuple[str, ResNetNames, dict[str, str]] = ("", LAYOUTS[0], {})
    for prefix in PREFIXES:
        for layout in LAYOUTS:
            mapped = {
                _renamed(name.removeprefix(prefix), layout): name for name in names if name.startswith(prefix)
            }
            fitting = {bare: name for bare, name in mapped.items() if bare in expected}
            if len(fitting) > len(best[2]):
                best = (prefix, layout, fitting)
    return best


def _renamed(name: str, layout: ResNetNames) -> str:
    for written, bare in layout.renamed.items():
        if written.startswith("."):
            name = name.replace(written, bare)
        elif name.startswith(written):
            name = bare + name.removeprefix(written)
    return name


def _fitting(encoder: Encoder, weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The weights with a first layer of three channels summed to one where the encoder has one; its name."""
    first = next((name for name, weight in encoder.state_dict().items() if weight.ndim == 4), "")
    weight = weights.get(first)
    if encoder.channels == 1 and weight is not None and weight.ndim == 4 and weight.shape[1] == 3:
        return weights | {first: weight.sum(dim=1, keepdim=True)}, _bare(first)
    return weights, ""


def _resampled(encoder: Encoder, weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The weights with position embeddings on the encoder's grid of patches, and a line for each."""
    expected, fitted, lines = encoder.state_dict(), dict(weights), []
    for name, weight in weights.items():
        if weight.shape == expected[name].shape or not weight.is_floating_point():
            continue
        other = encoder.on_its_grid(name, weight)
        if other is not None:
            fitted[name] = other
            places = f"{weight.shape[1]:,} places, resampled to the encoder's {other.shape[1]:,}"
            lines.append(f"{_bare(name)} has {places}: the file's model was made for other images.")
    return fitted, tuple(lines)


def _refuse_another_stem(file: Path, encoder: Encoder, layout: ResNetNames) -> None:
    """Refuse a network that is the same in all its weights, but for a ReLU that has none."""
    if not isinstance(encoder, ResNet) or layout.stem_relu in (None, encoder.has_stem_relu):
        return
    if layout.stem_relu:
        raise UserError(
            f"{file} is of a ResNet with a ReLU in its stem, which encoder.stem: lightly in params.yaml "
            "leaves out; set stem to small (3x3) or imagenet (7x7)."
        )
    raise UserError(
        f"{file} is of lightly's ResNetGenerator in an nn.Sequential, which has lost the ReLU of its stem. "
        "With that ReLU its features would be others; set encoder.stem in params.yaml to lightly."
    )


def _refuse_incomplete(
    file: Path,
    encoder: Encoder,
    weights: Mapping[str, Tensor],
    unused: tuple[str, ...],
    renamed: list[str],
) -> None:
    """Refuse what is not this encoder; ``renamed`` is what is not used, as torchvision or timm name it."""
    expected = encoder.state_dict()
    missing = [_bare(name) for name in expected if name not in weights and not name.endswith(OPTIONAL)]
    modules = {_bare(name).split(".")[0] for name in expected} - set(HEADS)
    deeper = [name for name in renamed if name.split(".")[0] in modules]
    shapes = [
        f"{_bare(name)} is {tuple(weight.shape)}, not {tuple(expected[name].shape)}"
        for name, weight in weights.items()
        if weight.shape != expected[name].shape
    ]
    if not (missing or deeper or shapes):
        return
    lines = [f"{file} does not hold the encoder of params.yaml ({_architecture(encoder)}):"]
    if missing:
        lines.append(f"missing, {len(missing)} of {len(expected)}: {', '.join(missing)}")
    if deeper:
        lines.append(f"of a deeper network, {len(deeper)}: {', '.join(deeper)}")
    if shapes:
        lines.append(f"of another shape, {len(shapes)}: {'; '.join(shapes)}")
    if unused:
        lines.append(f"in the file and not expected, {len(unused)}: {', '.join(unused)}")
    lines.append("Give a file of that architecture, or set encoder in params.yaml to that of the file.")
    raise UserError("\n".join(lines))


def _refuse_impossible(file: Path, weights: Mapping[str, Tensor]) -> None:
    """Refuse what no training can have left: NaN, infinity, a negative variance, integers for weights."""
    wrong = []
    for name, weight in weights.items():
        if name.endswith(OPTIONAL):
            continue
        if not weight.is_floating_point():
            wrong.append(f"{_bare(name)} holds {str(weight.dtype).removeprefix('torch.')}, not floats")
        elif not bool(torch.isfinite(weight).all()):
            wrong.append(f"{_bare(name)} holds NaN or infinity")
        elif name.endswith("running_var") and bool((weight < 0).any()):
            wrong.append(f"{_bare(name)} holds a negative variance")
    if wrong:
        raise UserError(f"{file} is damaged: {'; '.join(wrong)}. Fetch or write it again.")


def _architecture(encoder: Encoder) -> str:
    widths = ", ".join(map(str, encoder.block_widths))
    return f"{type(encoder).__name__} with blocks of {widths} channels, {encoder.channels} in the images"
