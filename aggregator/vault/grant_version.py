"""A vault's grant version is one that this service made (FORMAT.md, 15): its row carries the key service's mark.

The mark is keyed and names the version; whoever has the database alone can make none for a version that never was.
"""

from __future__ import annotations

import hmac
from typing import Protocol

from sqlmodel import Session

from aggregator.errors import Tampered
from aggregator.vault.counter import Counter, Extends
from aggregator.vault.tables import Vault


class Handle(Protocol):
    """`KeyService.handle`."""

    def __call__(self, purpose: str, *parts: str) -> bytes: ...


def step(vault: Vault, handle: Handle) -> None:
    """The next version, inside the caller's transaction."""
    vault.grant_version += 1
    vault.grant_mark = _mark(vault, handle)


def extends(handle: Handle) -> Extends:
    """What the key service asks before it remembers a later grant version: did it mark that one?

    Else one row, written once by whoever has the database, would have every honest one refused as older ever after. The
    answer is raised: Tampered.
    """

    def check(_: Session, vault: Vault, before: Counter) -> bool:
        marked = vault.grant_version == before.grant_version or hmac.compare_digest(
            vault.grant_mark, _mark(vault, handle)
        )
        if not marked:
            raise Tampered("a vault's row names a grant version that there is not")
        return True

    return check


def _mark(vault: Vault, handle: Handle) -> bytes:
    return handle("grant-version", vault.id, str(vault.grant_version))
