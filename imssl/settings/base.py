"""The base of every typed group of settings that comes from params.yaml."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Settings that decide a number: immutable, without unknown keys, without NaN or infinity.

    The same base serves the protocol's sections and the hyper-parameters of every method, so that a
    misspelt key is refused everywhere instead of being silently ignored.
    """

    # Most are only ever validated as part of a larger model, so a validator of their own can wait.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


def is_empty(value: object) -> bool:
    """Whether nothing is set, which is then not written down either: what is new must change no key."""
    return value is None or value in ({}, [])


@dataclass(frozen=True)
class Tuned:
    """Marks a setting that a search may vary: ``rate: Annotated[float, Tuned(0.03, 0.5, log=True)]``.

    The range is what is worth trying, and narrower than what is allowed. A setting of several numbers, such
    as a weight per block, is given one value for all of them.

    Attributes:
        low: smallest value tried.
        high: largest value tried.
        log: whether the search goes by the value's logarithm.
    """

    low: float
    high: float
    log: bool = False
