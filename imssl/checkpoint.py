"""Checkpoints that a kill cannot tear and that no other run can mistake for its own."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from imssl.durable import give_final_name
from imssl.errors import UserError

State = dict[str, Any]

DIGEST_BYTES = 32

# Between two checkpoints of a run.
CHECKPOINT_SECONDS = 60.0


@dataclass(frozen=True)
class CheckpointFile:
    """Where a run keeps its state, and which run it is.

    Attributes:
        path: of the file.
        run: identity of the run, see :func:`save_checkpoint`.
    """

    path: Path
    run: str

    def load(self) -> State | None:
        """See :func:`load_checkpoint`."""
        return load_checkpoint(self.path, self.run)

    def save(self, state: State) -> None:
        """See :func:`save_checkpoint`."""
        save_checkpoint(self.path, state, self.run)


def save_checkpoint(path: Path, state: State, run: str) -> None:
    """Write a checkpoint; the one before it is kept beside it as ``<name>.previous``.

    Args:
        path: file to write; its folder is made.
        state: tensors, numbers, strings and containers of these.
        run: identity of the run (a hash of code, parameters and data) that may continue from it.
    """
    buffer = io.BytesIO()
    torch.save({"run": run, "state": state}, buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(hashlib.sha256(buffer.getbuffer()).digest())
        file.write(buffer.getbuffer())
    if path.exists():
        path.replace(_previous(path))
    give_final_name(partial, path)


def load_checkpoint(path: Path, run: str) -> State | None:
    """The newest whole checkpoint, or None to start from the beginning.

    A torn file (its digest does not match) falls back to the one before it.

    Raises:
        UserError: the checkpoint is of other code, parameters or data, or of another version.
    """
    for candidate in (path, _previous(path)):
        content = candidate.read_bytes() if candidate.exists() else b""
        digest, payload = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
        if hashlib.sha256(payload).digest() != digest:
            continue
        try:
            checkpoint = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        except Exception as error:  # whole, but of another torch, or holding what a checkpoint must not
            raise UserError(
                f"{candidate}: this is not a checkpoint that this version writes ({type(error).__name__}). "
                "Delete it to start from the beginning."
            ) from None
        if checkpoint["run"] != run:
            raise UserError(
                f"{candidate}: this checkpoint is of another run (other code, parameters or data) and "
                "cannot be continued. Delete it to start from the beginning."
            )
        return checkpoint["state"]
    return None


def remove_checkpoint(path: Path) -> None:
    """Delete the checkpoint of a run that is finished, and the one before it."""
    for candidate in (path, _previous(path), path.with_suffix(".partial")):
        candidate.unlink(missing_ok=True)
    if path.parent.is_dir() and not any(path.parent.iterdir()):
        path.parent.rmdir()


def _previous(path: Path) -> Path:
    return path.with_suffix(".previous")
