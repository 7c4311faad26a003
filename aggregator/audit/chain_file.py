"""A vault's chain as lines of JSON, for who verifies it without this program (VERIFY.md section 2). Bytes in hex."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
from sqlmodel import Session, col, select

from aggregator.audit import remembered
from aggregator.audit.tables import Receipt, SignedHead
from aggregator.vault.tables import Vault

_AT_ONCE = 1000  # rows read into memory at a time


def lines(session: Session, vault: str, key: bytes) -> Iterator[bytes]:
    """The vault's row, its signed heads, its receipts: a line each, by position. Nothing where no such vault is."""
    row = session.get(Vault, vault)
    if row is None:
        return
    yield _line({"line": "vault", "vault": vault, "position": row.audit_position, "head": row.audit_head.hex()})
    heads = select(SignedHead).where(SignedHead.vault == vault).order_by(col(SignedHead.position))
    with session.exec(heads, execution_options={"yield_per": _AT_ONCE}) as found:
        yield from (_line({"line": "head"} | remembered.as_json(head, key)) for head in found)
    receipts = select(Receipt).where(Receipt.vault == vault).order_by(col(Receipt.position))
    with session.exec(receipts, execution_options={"yield_per": _AT_ONCE}) as rows:
        for one in rows:
            told = {"line": "receipt", "position": one.position, "number": one.number}
            yield _line(told | {"opening": one.opening.hex(), "box": one.box.hex()})


def _line(told: dict[str, Any]) -> bytes:
    return orjson.dumps(told) + b"\n"
