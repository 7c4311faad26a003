"""What a receipt says of a link, and how it comes into the chain of its vault, or of the system where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlmodel import Session

from aggregator.audit import receipts
from aggregator.audit.receipts import SYSTEM, Opening
from aggregator.errors import Stale
from aggregator.vault import counter, truth
from aggregator.vault.key_service import KeyService
from aggregator.vault.keys import OWNER


def entry(kind: str, now: datetime, who: Mapping[str, str], label: str, **more: Any) -> dict[str, Any]:
    """kind: opened, refused, shared, unshared. who: `owner()` or `bearer()`. label: what the owner calls the link."""
    at = now.isoformat(timespec="milliseconds")
    return {"kind": kind, "at": at, "interaction": "operation", **who, "type": "", "link": label, **more}


def owner() -> dict[str, str]:
    return {"party": OWNER, "name": OWNER, "purpose": "PATRQT"}


def bearer(link_id: str, recipient: str) -> dict[str, str]:
    """Who has the link, as they call themselves: stated, and by nobody verified."""
    return {"party": f"link/{link_id}", "name": recipient, "purpose": "PATRQT"}


def commit(session: Session, key_service: KeyService, vault: str, told: dict[str, Any]) -> bytes:
    """Into the caller's transaction; returns the opening's id, behind which the key service opens. Raises Stale."""
    row = counter.head(session, vault) or counter.known_head(session, SYSTEM)
    if row.id == SYSTEM:
        opening = Opening(SYSTEM, key_service.system_audit().public())
    else:
        opening = Opening(row.id, truth.audit_key(row, key_service.verification_key(row.id)))
    session.flush()
    if not all(receipts.commit(session, key_service, [opening.first(told)])):
        raise Stale("the receipt of this does not count")
    return opening.id
