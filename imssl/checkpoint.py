"""Checkpoints that are whole even after a kill, and that no other run can mistake for its own."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from imssl.durable import give_final_name
from imssl.errors import Stopped, UserError

State = dict[str, Any]

DIGEST_BYTES = 32

# Time between two checkpoints of a run.
CHECKPOINT_SECONDS = 60.0


@dataclass(frozen=True)
class CheckpointFile:
    """The file in which a run keeps its state, and the identity of the run.

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


def is_stopped(on_progress: Callable[[int, int], None], done: int, total: int) -> bool:
    """Tell of progress; whether the answer is that the run is to stop."""
    try:
        on_progress(done, total)
    except Stopped:
        return True
    return False


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
    """The newest checkpoint that is whole, or None to start from the beginning.

    If a file was only partly written (its digest does not match), the one before it is taken.

    Raises:
        UserError: the checkpoint belongs to other code, parameters or data, or to another version.
    """
    for candidate in (path, _previous(path)):
        content = candidate.read_bytes() if candidate.exists() else b""
        digest, payload = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
        if hashlib.sha256(payload).digest() != digest:
            continue
        try:
            checkpoint = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        except Exception as error:  # whole, but written by another torch, or with content that is not allowed
            raise UserError(
                f"{candidate}: this is not a checkpoint as this version writes it ({type(error).__name__}). "
                "Delete it to start from the beginning."
            ) from None
        if checkpoint["run"] != run:
            raise UserError(
                f"{candidate}: this checkpoint belongs to another run (other code, parameters or data) and "
                "cannot be continued. Delete it to start from the beginning."
            )
        return checkpoint["state"]
    return None


def _previous(path: Path) -> Path:
    return path.with_suffix(".previous")
