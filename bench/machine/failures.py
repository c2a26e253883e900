"""Messages for failures of the machine: a full disk, a read-only folder, too little memory, a GPU."""

import errno
from pathlib import Path

NOTHING_LOST = "Finished cells and checkpoints are kept; dvc repro continues from them."

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
GPU_ERRORS = {"OutOfMemoryError", "AcceleratorError"}
GPU_WORDS = ("CUDA error", "cuDNN error", "CUBLAS_STATUS", "CUDA out of memory")
ALLOCATION_WORDS = ("DefaultCPUAllocator", "not enough memory")


def machine_failure(error: BaseException) -> str | None:
    """What is wrong, where, and how to mend it; None where the error is not the machine's but a bug."""
    if isinstance(error, OSError):
        return _of_disk(error)
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
