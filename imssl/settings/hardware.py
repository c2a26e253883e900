"""Settings of the hardware."""

from typing import Literal

from pydantic import Field

from imssl.settings.base import Settings


class Hardware(Settings):
    """What the arithmetic runs on. It decides the last bits of a number, so it is part of the protocol.

    Attributes:
        device: ``auto`` is the first GPU where there is one, otherwise the CPU.
        threads: CPU threads of one cell; cells run side by side on the other cores.
        precision: ``bfloat16`` is autocast for the forward passes; weights stay float32.
    """

    device: Literal["auto", "cpu", "cuda"]
    threads: int = Field(ge=1, le=256)
    precision: Literal["float32", "bfloat16"]
