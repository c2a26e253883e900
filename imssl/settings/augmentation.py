"""Settings of the augmentation."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from imssl.settings.base import Settings

Probability = Annotated[float, Field(ge=0, le=1)]
Strength = Annotated[float, Field(ge=0, le=10)]
Share = Annotated[float, Field(ge=0.001, le=1)]
Ratio = Annotated[float, Field(ge=0.1, le=10)]
Sigma = Annotated[float, Field(ge=0.001, le=100)]


class Augmentation(Settings):
    """Strengths of the augmentation; the defaults are those of MoCo v2 (Chen et al. 2020) and a rotation.

    Attributes:
        crop_scale: smallest and largest share of the image's area; [1, 1] switches the crop off.
        crop_ratio: smallest and largest width / height of the crop, drawn uniformly in its logarithm.
        jitter_probability: share of samples with colour jitter.
        brightness: factors are uniform in [max(0, 1 - b), 1 + b]; 0 switches it off.
        contrast: as brightness.
        saturation: as brightness; does nothing to images of one channel.
        hue: shifts are uniform in [-h, h] of the full circle; does nothing to images of one channel.
        grey_probability: share of samples turned to grey; does nothing to images of one channel.
        blur_probability: share of samples with Gaussian blur.
        blur_sigma: smallest and largest standard deviation in pixels.
        rotation_degrees: angles are uniform in [-r, r]; 0 switches it off.
        horizontal_flip: share of samples mirrored left-right, where the data set allows it.
        vertical_flip: share of samples mirrored upside down, where the data set allows it.
        rotation_and_flips: ``first`` turns before jitter, grey and blur, in one interpolation with the crop;
            ``last`` after them, as the released code of Kaku et al. (2021) does. The crop is always first.
    """

    crop_scale: tuple[Share, Share] = (0.2, 1.0)
    crop_ratio: tuple[Ratio, Ratio] = (3 / 4, 4 / 3)
    jitter_probability: Probability = 0.8
    brightness: Strength = 0.4
    contrast: Strength = 0.4
    saturation: Strength = 0.4
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    grey_probability: Probability = 0.2
    blur_probability: Probability = 0.5
    blur_sigma: tuple[Sigma, Sigma] = (0.1, 2.0)
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 30.0
    horizontal_flip: Probability = 0.5
    vertical_flip: Probability = 0.0
    rotation_and_flips: Literal["first", "last"] = "first"

    @model_validator(mode="after")
    def _ordered(self) -> "Augmentation":
        for name in ("crop_scale", "crop_ratio", "blur_sigma"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} is [{low}, {high}]; give the smaller value first")
        return self

    def changed_by(self, written: "Augmentation") -> "Augmentation":
        """This augmentation with every value that was written in another one, and none of its defaults."""
        return self.model_copy(update={name: getattr(written, name) for name in written.model_fields_set})
