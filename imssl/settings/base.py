"""The base of every typed group of settings that comes from params.yaml."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Settings that decide a number: immutable, without unknown keys, without NaN or infinity.

    The same base serves the protocol's sections and the hyper-parameters of every method, so that a
    misspelt key is refused everywhere instead of being silently ignored.
    """

    # Most are only ever validated as part of a larger model, so a validator of their own can wait.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)
