"""What the science asks of the operating system, each with a portable way beside Linux' own.

Only the standard library is imported, and as little of it as can be: every start of a stage asks
`takes_portable_ways`, before it is known what is installed.
"""

import ctypes
import os
import resource
import sys
from pathlib import Path

PORTABLE = "IMSSL_BENCH_PORTABLE"
# Of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def takes_portable_ways() -> bool:
    """Whether to do without what Linux alone can do. IMSSL_BENCH_PORTABLE=1 says so on Linux, to try it."""
    return sys.platform != "linux" or os.environ.get(PORTABLE, "") == "1"


def processor_name() -> str:
    """What the processor calls itself, or its architecture where it has no name."""
    import platform

    if not takes_portable_ways():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        return names[0] if names else platform.machine()
    if sys.platform == "darwin":  # where platform.processor says "arm"
        import subprocess

        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        return ended.stdout.strip() or platform.machine()
    return platform.processor() or platform.machine()


def peak_resident_mib() -> float:
    """The most memory that this process has held so far, in MiB; on Linux at least what its parent held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def keep_freed_memory() -> None:
    """Let glibc keep what is freed for the next step, instead of handing it back to the system.

    Otherwise the gradients and feature maps of each step need new memory, which the system fills with zeros
    page by page; that takes 5% of a step.
    """
    library = None if takes_portable_ways() else ctypes.CDLL(None)
    # Other C libraries than glibc have no mallopt.
    if library is not None and hasattr(library, "mallopt"):
        library.mallopt(_MMAP_THRESHOLD, 2**30)
        library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
