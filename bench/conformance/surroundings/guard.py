"""The guard around a method in its real pretraining: what the checks compare and watch, once more."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.conformance.surroundings.overheard import overheard
from bench.conformance.surroundings.state import changed_names, random_states, surroundings
from bench.conformance.surroundings.watch import Watch
from bench.protocol.registry import shown
from imssl.errors import Diverged

# What a process is called while a method's code runs: the same in the checks and in a run.
ARGUMENTS = ["pretrain"]
SHOWN = 3
# What methods did in this process, by name of the module: where cells run one after another in it, a later
# one would take an earlier one's changes for how things are.
_reached_beyond: dict[str, str] = {}


class ReachedBeyond(Diverged):
    """A method's file reached beyond its own pretraining: its cell has failed, other cells can still run."""


class Guard:
    """Compares what lies around a method with what it was before the method's file was imported.

    Args:
        file: of the method.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.module = module_name(file.name)
        self.watch = Watch(str(file))
        self._before = surroundings(self.module)
        self._random = random_states()
        self._during = "its import"

    def imported(self) -> None:
        """Compare after the import; what comes now is training.

        Raises:
            ReachedBeyond: as :meth:`compare`.
        """
        self.compare()
        self._during = "training"

    def compare(self) -> None:
        """Refuse what has changed so far.

        Raises:
            ReachedBeyond: something has changed, or something was done that is not arithmetic.
        """
        with self.watch.paused():  # to read a function's code is an event, too
            now, random_now = surroundings(self.module), random_states()
        changed = changed_names(self._before, now)
        changed += [
            f"the global generator of {name}" for name in random_now if random_now[name] != self._random[name]
        ]
        if changed or self.watch.seen:
            _reached_beyond[self.module] = self._message(changed)
            raise ReachedBeyond(_reached_beyond[self.module])

    def _message(self, changed: list[str]) -> str:
        done = list(self.watch.seen)
        if changed:
            more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
            done.append(f"changed {', '.join(changed[:SHOWN])}{more}")
        return (
            f"{shown(self.file)} reached beyond its own pretraining during {self._during}: "
            f"{'; '.join(done[:SHOWN])}. A method computes with the tensors it is given, and leaves "
            "everything else alone."
        )


def module_name(file_name: str) -> str:
    """The dotted name under which a method's file is imported."""
    return f"imssl.methods.{file_name.removesuffix('.py')}"


@contextmanager
def _without_module(name: str) -> Iterator[None]:
    """Forget a module for the block: an import inside of it runs the file anew."""
    earlier = sys.modules.pop(name, None)
    try:
        yield
    finally:
        if earlier is not None:
            package, _, last = name.rpartition(".")
            sys.modules[name] = earlier
            setattr(sys.modules[package], last, earlier)


@contextmanager
def guarded(file: Path) -> Iterator[Guard]:
    """Watch and compare while a method is imported, built and trained in the block.

    The file is imported anew inside, so that no variable of its module is left from an earlier seed.

    Args:
        file: of the method.

    Raises:
        ReachedBeyond: the method did something that is not arithmetic, or changed something that is not its
            own.
    """
    if module_name(file.name) in _reached_beyond:
        raise ReachedBeyond(_reached_beyond[module_name(file.name)])
    arguments, original = sys.argv, sys.orig_argv
    with overheard(), _without_module(module_name(file.name)):
        guard = Guard(file)
        sys.argv, sys.orig_argv = list(ARGUMENTS), list(ARGUMENTS)
        try:
            with guard.watch.watching():
                yield guard
            guard.compare()
        except ReachedBeyond:
            raise
        except Exception:
            guard.compare()  # what the method did may have come out as any error, here or in the suite
            raise
        finally:
            sys.argv, sys.orig_argv = arguments, original
