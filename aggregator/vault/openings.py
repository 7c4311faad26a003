"""The `opened` receipts that a key service was told of: each of them opens one grant (FORMAT.md section 15)."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection

from aggregator.vault.counter import Opened

_LIFE = 60.0  # seconds between the receipt and the opening that it permits


class Openings:
    """The `opened` receipts that are durable and were not used yet. Each opens one grant, within a minute."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[Opened, float] = {}

    def add(self, openings: Collection[Opened]) -> None:
        now = time.monotonic()
        with self._lock:
            while self._until and next(iter(self._until.values())) <= now:  # the oldest are the first
                del self._until[next(iter(self._until))]
            self._until |= dict.fromkeys(openings, now + _LIFE)

    def use(self, opening: Opened) -> bool:
        with self._lock:
            return self._until.pop(opening, 0.0) > time.monotonic()
