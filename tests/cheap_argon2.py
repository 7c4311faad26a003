"""Argon2id at a thousandth of its memory: a test about something else does not pay what a password costs.

All the rest is as it is served: what is stored, floor and ceiling, the one derivation at a time, and that another
password, salt or parameter gives another key. The service itself has no setting for it.
"""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from aggregator.identity import unlockers

_SHARE = 1024
_LEAST = 8  # KiB for each lane (RFC 9106, section 3.1)


def install() -> None:
    """In this process, from here on."""
    unlockers.Argon2id = _cheap


def _cheap(*, memory_cost: int, lanes: int, **rest: Any) -> Argon2id:
    return Argon2id(memory_cost=max(memory_cost // _SHARE, _LEAST * lanes), lanes=lanes, **rest)
