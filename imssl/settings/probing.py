"""Settings of linear classifiers on frozen features."""

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
