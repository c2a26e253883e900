"""Settings of what is fitted on, or read off, frozen features."""

from typing import Annotated, Literal

from pydantic import Field

from imssl.settings.base import Settings

Strength = Annotated[float, Field(gt=0)]


class LinearSettings(Settings):
    """How a linear classifier is fitted on frozen features.

    Attributes:
        l2: strengths of regularisation; the best on validation is taken.
        class_weights: ``balanced`` weighs a class by the inverse of its frequency.
    """

    l2: Annotated[tuple[Strength, ...], Field(min_length=1)]
    class_weights: Literal["none", "balanced"]


class KnnSettings(Settings):
    """How nearest neighbours vote (Wu et al. 2018, section 3.4).

    Attributes:
        neighbours: labelled images that vote; all of them where there are fewer.
        temperature: a neighbour of cosine similarity s has weight exp(s / temperature).
    """

    neighbours: int = Field(default=20, ge=1, le=10_000)
    temperature: float = Field(default=0.1, gt=0)
