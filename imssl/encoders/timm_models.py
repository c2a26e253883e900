"""timm's models as encoders: stages of a hierarchical model, or quarters of a transformer's depth, as blocks.

Weights are never downloaded: every model is made with ``pretrained=False``.
"""

import inspect
import math
from functools import cache
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.layers import BatchNormAct2d, resample_abs_pos_embed
from timm.models import VisionTransformer
from torch import Tensor, nn

from imssl.batch_norm import SplitBatchNorm2d
from imssl.encoders.encoder import Encoder, Features
from imssl.errors import UserError
from imssl.settings.encoder import BLOCKS, TIMM, TimmSettings

# Where a model has them: any image size is taken, and nothing is dropped, since dropout would draw from the
# global generator, and a run must not depend on what else draws from it.
ARGUMENTS: dict[str, Any] = {
    "dynamic_img_size": True,
    "dynamic_img_pad": True,
    "strict_img_size": False,
    "drop_rate": 0.0,
    "drop_path_rate": 0.0,
}
GLOBAL_POOL = {"class token": "token", "mean": "avg"}


class TimmEncoder(Encoder):
    """One of timm's models without its classifier; names in the state are timm's, after ``model.``.

    The blocks of a hierarchical model (ConvNeXt, Swin, EfficientNet, ...) are its last four stages. Those of
    a model whose maps all have one size (ViT) are its first quarter, half, three quarters, and all of it; the
    patch tokens, laid out as they lie in the image, are the map.

    The embedding is what timm gives before its classifier, final norm included. Of the earlier blocks no norm
    is taken, as the model has none for them.

    Args:
        settings: which model, and what stands for an image as a whole.
        channels: 1 for grey images, 3 for colour.

    Raises:
        UserError: timm has no such model, it does not tell four blocks apart, or it has no class token.
    """

    def __init__(self, settings: TimmSettings, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.model: Any = _timm_model(settings, channels)  # timm has no types
        stages = self.model.feature_info
        self.depths = _depths(settings.name, [stage["reduction"] for stage in stages])
        self.block_widths = tuple(stages[depth]["num_chs"] for depth in self.depths)
        self.last_stride: int = stages[-1]["reduction"]
        self.reads_class_token = getattr(self.model, "global_pool", None) == "token"
        self.has_own_embedding = _embedding_width(self.model) == self.width

    @property
    def stride(self) -> int:
        """Pixels from one position of the last block's map to the next."""
        return self.last_stride

    @property
    def parts(self) -> list[nn.Module]:
        """The whole model, which knows best how its modules follow one another."""
        return [_Embedding(self).train(self.training)]

    def on_its_grid(self, name: str, weight: Tensor) -> Tensor | None:
        """A ViT's position embedding, (1, places, C), as timm resamples it for images of another size."""
        if name != "model.pos_embed" or not isinstance(self.model, VisionTransformer):
            return None
        own: Tensor = self.model.pos_embed  # type: ignore[assignment]
        grid = self.model.patch_embed.grid_size
        prefix = own.shape[1] - grid[0] * grid[1]
        side = math.isqrt(max(weight.shape[1] - prefix, 0)) if weight.ndim == 3 else 0
        if not side or weight.shape != (1, side**2 + prefix, own.shape[2]):
            return None
        return resample_abs_pos_embed(weight, list(grid), [side, side], num_prefix_tokens=prefix)

    def forward(self, images: Tensor) -> Features:
        """Features of normalised images (B, C, H, W), float32."""
        prefixed = {"return_prefix_tokens": True} if self.reads_class_token else {}
        final, outputs = self.model.forward_intermediates(images, indices=self.depths, **prefixed)
        if self.reads_class_token:
            maps = tuple(maps for maps, _ in outputs)
            vectors = [prefix[:, 0] for _, prefix in outputs]
        else:
            maps = tuple(outputs)
            vectors = [block.mean(dim=(2, 3)) for block in maps]
        if self.has_own_embedding:
            vectors[-1] = self.model.forward_head(final, pre_logits=True)
        return Features(maps, tuple(vectors))


class _Embedding(nn.Module):
    """The encoder as a module that gives a tensor."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        return self.encoder(images).embedding


class SplitBatchNormAct2d(BatchNormAct2d, SplitBatchNorm2d):
    """timm's batch norm with its activation, over parts of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W) and apply the activation; with fewer splits if B needs it."""
        return self.act(self.drop(SplitBatchNorm2d.forward(self, x)))


class AnySizeTransformer(VisionTransformer):
    """A ViT whose position embedding is resampled to the size of the images by a product of matrices.

    timm interpolates, and that has no deterministic gradient on a GPU. Interpolation is linear, so the same
    numbers come from a matrix, whose gradient is.
    """

    def _pos_embed(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        prefix = [token for token in (self.cls_token, self.reg_token) if token is not None]
        tokens = [token.expand(batch, -1, -1) for token in prefix]
        patches = x.reshape(batch, -1, channels)
        if self.pos_embed is None:
            return self.pos_drop(torch.cat([*tokens, patches], dim=1))
        skipped = 0 if self.no_embed_class else self.num_prefix_tokens
        of_prefix, of_patches = self.pos_embed[:, :skipped], self.pos_embed[:, skipped:]
        grid = self.patch_embed.grid_size
        if (height, width) != tuple(grid):
            resampling = _resampling(tuple(grid), (height, width), of_patches)
            of_patches = torch.einsum("nm,bmc->bnc", resampling, of_patches)
        if self.no_embed_class:
            return self.pos_drop(torch.cat([*tokens, patches + of_patches], dim=1))
        position = torch.cat([of_prefix, of_patches], dim=1)
        return self.pos_drop(torch.cat([*tokens, patches], dim=1) + position)


def _resampling(old: tuple[int, int], new: tuple[int, int], like: Tensor) -> Tensor:
    """The matrix (new places, old places) of timm's bicubic interpolation with antialiasing."""
    places = torch.eye(old[0] * old[1], device=like.device).reshape(-1, 1, *old)
    with torch.no_grad():
        columns = F.interpolate(places, size=new, mode="bicubic", antialias=True, align_corners=False)
    return columns.reshape(old[0] * old[1], -1).T.to(like.dtype)


def arguments_of(settings: TimmSettings) -> dict[str, Any]:
    """What ``timm.create_model`` is given for a model besides its name and channels."""
    known = _known_arguments(settings.name.removeprefix(TIMM))
    arguments = {key: value for key, value in ARGUMENTS.items() if key in known}
    if settings.pooling is not None:
        arguments["global_pool"] = GLOBAL_POOL[settings.pooling]
    return arguments


@cache
def _known_arguments(name: str) -> frozenset[str]:
    """Names of what the class of a model takes, which timm names for none before it is made."""
    with torch.device("meta"):
        kind = type(timm.create_model(name, pretrained=False))
    return frozenset(inspect.signature(kind.__init__).parameters)


def _timm_model(settings: TimmSettings, channels: int) -> Any:
    name = settings.name.removeprefix(TIMM)
    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"{name[:4]}*")[:8])
        raise UserError(
            f"params.yaml: encoder.name is {settings.name}, and timm {timm.__version__} has no model {name}."
            f"{f' Some that begin alike: {near}.' if near else ''} Its names: timm.list_models()"
        )
    arguments = arguments_of(settings)
    try:
        model = timm.create_model(name, pretrained=False, num_classes=0, in_chans=channels, **arguments)
    except (AssertionError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"params.yaml: encoder.name is {settings.name}, which cannot be made with {channels} channels "
            f"and pooling {settings.pooling or 'of its own'} ({error})."
        ) from None
    if settings.pooling == "class token" and getattr(model, "cls_token", None) is None:
        raise UserError(
            f"params.yaml: encoder.pooling is class token, but {settings.name} has none; use mean."
        )
    if not hasattr(model, "forward_intermediates") or not getattr(model, "feature_info", None):
        raise UserError(
            f"params.yaml: encoder.name is {settings.name}, which does not tell its blocks apart."
        )
    return _adapted(model)


def _adapted(model: nn.Module) -> nn.Module:
    """Layers that behave as the suite needs, without another name or weight."""
    if type(model) is VisionTransformer:
        model.__class__ = AnySizeTransformer
    for layer in model.modules():
        if type(layer) is nn.BatchNorm2d:
            layer.__class__ = SplitBatchNorm2d
        elif type(layer) is BatchNormAct2d:
            layer.__class__ = SplitBatchNormAct2d
        if hasattr(layer, "fused_attn"):
            # The fused kernels have no deterministic gradient on every GPU.
            setattr(layer, "fused_attn", False)  # noqa: B010 (torch types attributes as tensors)
    return model


def _depths(name: str, reductions: list[int]) -> list[int]:
    """Indices of the stages, or transformer layers, that end blocks 1 to 4."""
    count = len(reductions)
    if count < BLOCKS:
        raise UserError(
            f"params.yaml: encoder.name is {name}, which has {count} stages; {BLOCKS} are needed as blocks."
        )
    if len(set(reductions)) > 1:
        return list(range(count - BLOCKS, count))
    return [round(count * quarter / BLOCKS) - 1 for quarter in range(1, BLOCKS + 1)]


def _embedding_width(model: nn.Module) -> int:
    """Channels before timm's classifier; some models widen there, and that is left to the classifier."""
    return int(getattr(model, "head_hidden_size", None) or model.num_features)  # type: ignore[arg-type]
