"""Open views, within their bounds: who holds which, until when, and how much memory they may take together."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aggregator.audit.receipts import Condition, Opening
from aggregator.vault.view import View

Key = tuple[str, str]
"""(reader, vault)."""


@dataclass(slots=True)
class Held:
    """An open view with its receipts. entry: what each of them says; expires: of the caller's token, Unix seconds."""

    view: View
    opening: Opening
    condition: Condition
    entry: dict[str, Any]
    expires: float
    since: float = 0.0
    """When it was opened, Unix seconds; `keep` says it."""
    used: float = field(default_factory=time.monotonic)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Whose turn it is to ask: one at a time, as an image wants it."""
    ended: bool = False
    shown: int = 0
    """How many resources left through it."""

    def end(self) -> None:
        """Close the view: at once, or where it is being asked in a thread, as soon as that has let go of it."""
        self.ended = True
        if self.turn.locked():
            self.view.image.meter.stop()
        else:
            self.view.close()


class HeldViews:
    """The views that are open now: least recently used ones go first when the budget is spent."""

    def __init__(self, clock: Callable[[], datetime], idle_seconds: float, budget: int) -> None:
        self._clock = clock
        self._idle_seconds = idle_seconds
        self._budget = budget
        self._held: OrderedDict[Key, Held] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: Key) -> Held | None:
        """The view, if it may still be used."""
        held = self._held.get(key)
        if held is None:
            return None
        if self._over(held):
            self.drop(key)
            return None
        held.used = time.monotonic()
        self._held.move_to_end(key)
        return held

    def keep(self, key: Key, held: Held) -> None:
        """Hold it; the least recently used others are closed until all fit into the budget."""
        self.drop(key)
        held.since = self._clock().timestamp()
        self._held[key] = held
        while len(self._held) > 1 and sum(one.view.image.size for one in self._held.values()) > self._budget:
            self._held.popitem(last=False)[1].end()

    def drop(self, key: Key) -> None:
        """Close a view, if it is open."""
        held = self._held.pop(key, None)
        if held is not None:
            held.end()

    def drop_reader(self, reader: str) -> None:
        """Close all views of a reader who signed out."""
        for key in [key for key in self._held if key[0] == reader]:
            self.drop(key)

    def sweep(self) -> None:
        """Close what is over, whether anyone asks for it or not."""
        for key in [key for key, held in self._held.items() if self._over(held)]:
            self.drop(key)

    def close(self) -> None:
        """Close every view."""
        while self._held:
            self._held.popitem()[1].end()

    def _over(self, held: Held) -> bool:
        now = self._clock()
        if now.timestamp() < held.since:  # the clock was set back: what it says of ends counts no more
            return True
        idle = time.monotonic() - held.used > self._idle_seconds
        ended = held.view.until is not None and now.timestamp() >= held.view.until.timestamp()
        return idle or ended or now.timestamp() >= held.expires
