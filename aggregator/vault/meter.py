"""How much work a question to an image may be, in SQLite's own steps: the same question always ends alike.

https://www.sqlite.org/c3ref/progress_handler.html. Time would tell one caller what another one does; steps tell nothing
but the question and the view.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf

from aggregator.errors import AggregatorError

INSTRUCTIONS = 10_000
"""Of SQLite's virtual machine in one step."""


PARSED = 20
"""Resources that take as long to parse as one step."""


class TooMuchWork(AggregatorError):
    """A question took more steps than were allowed, or nobody waits for its answer any more."""


class Meter:
    """What is left of the work that was allowed. At first everything is."""

    __slots__ = ("_left", "_stopped")

    def __init__(self) -> None:
        self._left = inf
        self._stopped = False

    @contextmanager
    def allow(self, steps: float) -> Iterator[None]:
        """Inside, this many steps may be taken."""
        self._left, self._stopped = steps, False
        try:
            yield
        finally:
            self._left, self._stopped = inf, False

    def stop(self) -> None:
        """From another thread: what is being asked ends at its next step."""
        self._stopped = True

    def step(self) -> bool:
        """Count one; SQLite's progress handler. True: it was one too many."""
        self._left -= 1
        return self._stopped or self._left < 0

    def spend(self, steps: int) -> None:
        """For work that is not SQLite's. Raises TooMuchWork."""
        self._left -= steps
        if self._stopped or self._left < 0:
            raise TooMuchWork
