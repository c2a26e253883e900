"""An encoder as a file that torchvision and timm read, and the lines of Python that read it."""

from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from imssl.encoders.encoder import Encoder
from imssl.encoders.weights import TIMM_MODEL
from imssl.settings.encoder import STANDARD_WIDTH, TIMM, EncoderSettings, TimmSettings


def exported_weights(encoder: Encoder) -> bytes:
    """Weights and running statistics as safetensors, under torchvision's names or timm's.

    ResNets have the same names in both libraries, so one file serves both.
    """
    state: dict[str, Tensor] = {
        name.removeprefix(TIMM_MODEL): tensor.detach().cpu().contiguous()
        for name, tensor in encoder.state_dict().items()
    }
    return save(state, metadata={"format": "pt"})


def how_to_load(encoder: Encoder, settings: EncoderSettings | TimmSettings, file: Path) -> dict[str, Any]:
    """Lines of Python that build the encoder in another library and load the file, by library.

    After them ``model(images)`` gives the embedding, (B, C), of normalised images.

    Args:
        encoder: that was exported.
        settings: its own.
        file: with its weights, as the lines are to name it.
    """
    if isinstance(settings, TimmSettings):
        return {"timm": _timm_lines(settings, encoder, file)}
    if settings.width != STANDARD_WIDTH:
        reason = f"width {settings.width}: torchvision and timm build ResNets of width {STANDARD_WIDTH} only"
        return {"neither": reason}
    stem = _stem_lines(settings, encoder)
    # The same module has another name in the two libraries.
    no_relu = {library: [f"model.{name} = torch.nn.Identity()"] if settings.stem == "lightly" else []
               for library, name in (("torchvision", "relu"), ("timm", "act1"))}  # fmt: skip
    ending = ["model.eval()"]
    return {
        "torchvision": [
            "import torch, torchvision",
            "from safetensors.torch import load_file",
            f"model = torchvision.models.{settings.name}(weights=None)",
            *stem,
            *no_relu["torchvision"],
            "model.fc = torch.nn.Identity()",
            f"model.load_state_dict(load_file({file.name!r}))",
            *ending,
        ],
        "timm": [
            "import timm, torch",
            "from safetensors.torch import load_file",
            f"model = timm.create_model({settings.name!r}, pretrained=False, num_classes=0)",
            *stem,
            *no_relu["timm"],
            f"model.load_state_dict(load_file({file.name!r}))",
            *ending,
        ],
    }


def _stem_lines(settings: EncoderSettings, encoder: Encoder) -> list[str]:
    first = f"model.conv1 = torch.nn.Conv2d({encoder.channels}, {settings.width}"
    if settings.stem != "imagenet":
        return [f"{first}, 3, stride=1, padding=1, bias=False)", "model.maxpool = torch.nn.Identity()"]
    return [] if encoder.channels == 3 else [f"{first}, 7, stride=2, padding=3, bias=False)"]


def _timm_lines(settings: TimmSettings, encoder: Encoder, file: Path) -> list[str]:
    from imssl.encoders.timm_models import arguments_of

    arguments = {
        "pretrained": False,
        "num_classes": 0,
        "in_chans": encoder.channels,
        **arguments_of(settings),
    }
    written = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return [
        "import timm, torch",
        "from safetensors.torch import load_file",
        f"model = timm.create_model({settings.name.removeprefix(TIMM)!r}, {written})",
        f"model.load_state_dict(load_file({file.name!r}))",
        "model.eval()",
    ]
