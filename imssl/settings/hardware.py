"""Settings of the hardware."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from imssl.settings.base import Settings


def _refuse_mps(device: object) -> object:
    if device == "mps":
        raise ValueError(
            'is "mps"; Apple\'s GPUs are not offered, as nobody has run the suite on one and their numbers '
            "would not be bit-reproducible; use auto or cpu"
        )
    return device


class Hardware(Settings):
    """What the arithmetic runs on. It decides the last bits of a number, so it is part of the protocol.

    Attributes:
        device: ``auto`` is the first GPU where there is one, otherwise the CPU.
        threads: CPU threads of one cell; cells run side by side on the other cores.
        precision: ``bfloat16`` is autocast for the forward passes; weights stay float32.
        devices: processes that pretrain one encoder together under torchrun, each with a GPU, or with
            ``threads`` of the CPU; the batch is dealt out to them.
        sync_batch_norm: with several devices, whether batch norm sees the batch as it does on one; otherwise
            each device normalises its own share.
        micro_batches: equal parts in which a device sends its share through the encoder, one after another,
            for less memory; batch norm sees a part at a time.
    """

    device: Annotated[Literal["auto", "cpu", "cuda"], BeforeValidator(_refuse_mps)]
    threads: int = Field(ge=1, le=256)
    precision: Literal["float32", "bfloat16"]
    devices: int = Field(default=1, ge=1, le=4096)
    sync_batch_norm: bool = True
    micro_batches: int = Field(default=1, ge=1, le=65_536)
