"""How a process is asked to leave: SIGTERM, as batch systems send it and the death of a parent does."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType

TERMINATED = 143  # the exit status by which a shell reports SIGTERM


class StopRequest:
    """Whether this process has been asked to leave."""

    def __init__(self) -> None:
        self.received = False

    def receive(self, signal_number: int, frame: FrameType | None) -> None:
        """Handler of a signal."""
        self.received = True


@contextmanager
def noticing_sigterm() -> Iterator[StopRequest]:
    """Within the block SIGTERM ends nothing; it is noted, and what is at work looks for it."""
    request = StopRequest()
    if current_thread() is not main_thread():  # only there can handlers be set
        yield request
        return
    with handling_sigterm(request.receive):
        yield request


@contextmanager
def handling_sigterm(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Within the block a function is called when SIGTERM comes. Only the main thread can ask for that."""
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
