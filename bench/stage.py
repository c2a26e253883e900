"""What dvc.yaml calls: ``python -m bench.stage STAGE [DATASET] [METHOD]``.

Importing torch and the other large libraries takes seconds, for each of a run's many stages. So a stage is
handed to a process that has imported them already and forks a fresh child for each stage
(bench.launch.warm_start). Where that is not possible, or with IMSSL_BENCH_WARM_START=0, the stage runs in
this process. The results are the same.
"""

import ctypes
import os
import signal
import sys

KILLED = 137  # the exit status by which a shell reports SIGKILL


def main() -> int:
    """Run the stage named by the command line; the exit status is the stage's."""
    if sys.platform == "linux":
        _end_with_parent()
    if os.environ.get("IMSSL_BENCH_WARM_START", "1") != "0" and sys.platform == "linux":
        from bench.launch.warm_start import run_warm

        status = run_warm(sys.argv[1:])
        if status == KILLED:
            print(
                "error: the stage was killed, perhaps because memory ran out: run fewer cells at a time "
                "(IMSSL_BENCH_WORKERS=1) or set smaller batches in params.yaml. Finished cells and "
                "checkpoints are kept; dvc repro continues from them.",
                file=sys.stderr,
            )
        if status is not None:
            return status
    from bench.launch.run_stage import run_stage

    return run_stage(sys.argv[1:])


def _end_with_parent() -> None:
    """Receive SIGTERM when the parent dies: a killed ``dvc repro`` must not leave a stage running."""
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG of linux/prctl.h
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
