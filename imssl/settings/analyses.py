"""Settings of the analyses of features and outputs."""

from pydantic import Field

from imssl.settings.base import Settings


class ReuseSettings(Settings):
    """How features before and after fine-tuning are compared.

    Attributes:
        samples: test images compared, drawn over all patients, the same for every method; fewer where there
            are fewer.
        permutations: of the null that stands beside each CKA value.
        bandwidth: of the RBF kernel, as a multiple of the median distance.
    """

    samples: int = Field(ge=4, le=20_000)
    permutations: int = Field(ge=1, le=100_000)
    bandwidth: float = Field(gt=0)
