"""The schedule of the learning rate."""

import math

from imssl.settings.pretraining import Optimisation


def learning_rate_factor(optimisation: Optimisation, progress: float) -> float:
    """Share of the full learning rate after a share of the run.

    Args:
        optimisation: schedule and warm-up.
        progress: share of the run that is done, in [0, 1).
    """
    if progress < optimisation.warmup:
        return progress / optimisation.warmup
    if optimisation.schedule == "constant":
        return 1.0
    after_warmup = (progress - optimisation.warmup) / (1 - optimisation.warmup)
    return (1 + math.cos(math.pi * after_warmup)) / 2
