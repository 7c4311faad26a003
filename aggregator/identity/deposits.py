"""Deposit mandates as rows: which stand, and how they end with the grants beside which they were signed."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import orjson
from sqlmodel import Session, col, select

from aggregator.consent import mandate
from aggregator.errors import Tampered
from aggregator.vault import tables
from aggregator.vault.keys import Root


def of(session: Session, vault: str, grantee: bytes) -> list[tables.Mandate]:
    """The grantee's deposit mandate, where there is one."""
    mine = (col(tables.Mandate.grantee) == grantee, col(tables.Mandate.ended).is_(False))
    found = session.exec(select(tables.Mandate).where(tables.Mandate.vault == vault, *mine))
    return [row for row in found if _stands(row.certificate)]


def every(session: Session, vault: str) -> list[tables.Mandate]:
    """All whose certificates have no end yet, whatever the rows beside them say."""
    deposits = select(tables.Mandate).where(tables.Mandate.vault == vault, col(tables.Mandate.grantee) != b"")
    return [row for row in session.exec(deposits) if _stands(row.certificate)]


def retire(session: Session, rows: Iterable[tables.Mandate], *, root: Root | None, position: int) -> None:
    """Nothing is added under these any more. Their keys are destroyed with the grants': the key service names both.

    root: signs that nothing behind this log position counts; None where the owner is not there: then the next signing
    does it, and meanwhile the key that is destroyed keeps everybody from writing.
    """
    for row in rows:
        row.ended, row.box = True, b""
        if root:
            with suppress(Tampered):  # a forger gets no signature, and keeps nobody from signing
                mandate.end(row, root, position)
        session.add(row)


def _stands(certificate: bytes) -> bool:
    try:
        stated: dict[str, Any] = orjson.loads(certificate)
    except ValueError:
        return False
    return "grantee" in stated and "until" not in stated
