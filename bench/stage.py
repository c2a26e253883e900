"""What dvc.yaml calls: ``python3 -m bench.stage STAGE [DATASET] [METHOD]``.

Importing torch and the other large libraries takes seconds, for each of a run's many stages. So a stage is
handed to a process that has imported them already and forks a fresh child for each stage
(bench.launch.warm_start). Where that is not possible, or with IMSSL_BENCH_WARM_START=0, the stage runs in
a child of this process. The results are the same.

``python3`` may be one without the suite's libraries, or too old for its code: nothing outside the standard
library is imported here, and this file is in the language of Python 2.7.
"""

import sys

from bench.machine.interpreter import (
    missing_libraries,
    packages_outside_bounds,
    too_old,
    use_dvcs_interpreter,
)


def main():
    # type: () -> int
    """Run the stage named by the command line; the exit status is the stage's."""
    use_dvcs_interpreter()
    problem = _problem()
    if problem:
        sys.stderr.write("error: {}\n".format(problem))
        return 2
    from bench.launch.warm_start import run_warm
    from bench.machine.system import end_with_parent
    from bench.machine.watched import run_watched, say_what_ended

    end_with_parent()  # a killed `dvc repro` must not leave a stage running
    status = run_warm(sys.argv[1:])
    if status is None:
        status = run_watched(_run_here)
    say_what_ended("the stage", status)
    return status


def _problem():
    # type: () -> str
    """Why no stage can run here, before anything else is imported; empty where one can."""
    problem = too_old("this stage")
    if problem:
        return problem
    from bench.machine.failures import unsupported_system

    problem = unsupported_system() or missing_libraries("this stage")
    # The other stages follow this one.
    return problem or (packages_outside_bounds() if sys.argv[1:] == ["inputs"] else "")


def _run_here():
    # type: () -> int
    from bench.protocol.source_files.at_start import sources_at_start

    sources_at_start()
    from bench.launch.run_stage import run_stage

    return run_stage(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
