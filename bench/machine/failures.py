"""Messages for failures of the machine: a full disk, a read-only folder, too little memory, a GPU."""

import errno
import sys
from collections.abc import Callable
from pathlib import Path

from bench.machine.stop import TERMINATED
from imssl.durable import NO_ROOM
from imssl.errors import Stopped, UserError, printable

NOTHING_LOST = "Finished cells and checkpoints are kept; dvc repro continues from them."

NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
GPU_ERRORS = {"OutOfMemoryError", "AcceleratorError"}
GPU_WORDS = ("CUDA error", "cuDNN error", "CUBLAS_STATUS", "CUDA out of memory")
ALLOCATION_WORDS = ("DefaultCPUAllocator", "not enough memory")


def unsupported_system() -> str:
    """What to do on a system that the suite does not run on; empty on any other."""
    if sys.platform != "win32":
        return ""
    return (
        "the suite does not run on Windows itself: use WSL 2 (wsl --install, then set it up in there as on "
        "Linux) or the container (docs/container.md)."
    )


def exit_status(work: Callable[[], int], continues: str) -> int:
    """Do some work; whatever ends it but a bug is reported on standard error, without a traceback.

    Args:
        work: returns an exit status.
        continues: the command that goes on from what is kept, for the message after Ctrl-C.

    Returns:
        That of the work; 2 after a mistake or a failure of the machine, 130 after Ctrl-C, 143 after SIGTERM.
    """
    try:
        return work()
    except Stopped:
        return _reported(f"stopped by SIGTERM. {NOTHING_LOST}", TERMINATED)
    except KeyboardInterrupt:
        return _reported(f"stopped; finished cells are kept, {continues} continues from them", 130)
    except Exception as error:
        message = str(error) if isinstance(error, UserError) else machine_failure(error)
        if message is None:
            raise
        return _reported(f"error: {message}", 2)


def _reported(message: str, status: int) -> int:
    print(message, file=sys.stderr, flush=True)
    return status


def machine_failure(error: BaseException) -> str | None:
    """What is wrong, where, and how to mend it; None where the error is not the machine's but a bug."""
    if isinstance(error, OSError):
        return printable(_of_disk(error), keep="\n\t")
    if isinstance(error, MemoryError) or any(words in str(error) for words in ALLOCATION_WORDS):
        return (
            "there is not enough memory. Close other programs, run fewer cells at a time "
            f"(IMSSL_BENCH_WORKERS=1), or set smaller batches in params.yaml. {NOTHING_LOST}"
        )
    if type(error).__name__ in GPU_ERRORS or any(words in str(error) for words in GPU_WORDS):
        first_line = (str(error).splitlines() or [""])[0]
        return (
            f"the GPU failed: {first_line}\nIf its memory is full, end other programs on it, run fewer cells "
            "at a time (IMSSL_BENCH_WORKERS=1) or set a smaller batch_size in params.yaml; otherwise look at "
            f"nvidia-smi. {NOTHING_LOST}"
        )
    return None


def _of_disk(error: OSError) -> str:
    # A failed write does not name its file.
    where = error.filename if error.filename is not None else f"in {Path.cwd()}"
    what = error.strerror or str(error) or type(error).__name__
    if error.errno in NO_ROOM:
        return f"{where}: {what}. Free some space, then run it again. {NOTHING_LOST}"
    if error.errno in NOT_ALLOWED:
        return f"{where}: {what}. Make the folder writable for this user, then run it again. {NOTHING_LOST}"
    return f"{where}: {what}. Mend that, then run it again. {NOTHING_LOST}"
