"""Sign-ins take turns: one thread of their own for what derives a key from a password, and a bounded queue before it.

Not asyncio's default threads: waiting sign-ins would hold all of them, and with them every other request's.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from aggregator.errors import Stale

_P = ParamSpec("_P")
_T = TypeVar("_T")

MOST_WAITING = 32  # some three seconds of work


class Busy(Stale):
    """More people sign in at once than can be served: try again."""


class Turns:
    """One thread and who waits for it. `most`: calls under way and waiting."""

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._places = threading.BoundedSemaphore(most)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sign-in")

    async def take(self, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Call it when its turn comes. Raises Busy at once where too many wait, and whatever the call raises."""
        if not self._places.acquire(blocking=False):
            raise Busy("too many people are signing in just now; try again in a few seconds")
        turn = self._thread.submit(call, *args, **kwargs)
        # A caller who went away leaves the work in the queue: its place is free when the work is done, not before.
        turn.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(turn)
