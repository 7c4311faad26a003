"""A vault's chain as lines of JSON, for who verifies it without this program (VERIFY.md section 2). Bytes in hex."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
from sqlmodel import Session, col, select

from aggregator.audit import remembered
from aggregator.audit.tables import AuditKeyRow, Receipt, SignedHead
from aggregator.vault.tables import Vault

_AT_ONCE = 1000  # rows read into memory at a time


def lines(session: Session, vault: str, key: bytes) -> Iterator[bytes]:
    """The vault's row, the list of keys, its signed heads, its receipts: a line each. Nothing where no such vault is.

    key: what signs now, and did so before there was a list.
    """
    row = session.get(Vault, vault)
    if row is None:
        return
    yield _line({"line": "vault", "vault": vault, "position": row.audit_position, "head": row.audit_head.hex()})
    keys = {1: key}
    for row_ in session.exec(select(AuditKeyRow).order_by(col(AuditKeyRow.number))).all():
        keys[row_.number] = row_.key
        told = {"number": row_.number, "key": row_.key.hex(), "from": row_.since}
        yield _line({"line": "key"} | told | {"signature": row_.signature.hex(), "vouched": row_.vouched.hex()})
    heads = select(SignedHead).where(SignedHead.vault == vault).order_by(col(SignedHead.position))
    with session.exec(heads, execution_options={"yield_per": _AT_ONCE}) as found:
        yield from (
            _line({"line": "head"} | remembered.as_json(head, keys.get(head.key_number, b""))) for head in found
        )
    receipts = select(Receipt).where(Receipt.vault == vault).order_by(col(Receipt.position))
    with session.exec(receipts, execution_options={"yield_per": _AT_ONCE}) as rows:
        for one in rows:
            told = {"line": "receipt", "position": one.position, "number": one.number}
            yield _line(told | {"opening": one.opening.hex(), "box": one.box.hex()})


def _line(told: dict[str, Any]) -> bytes:
    return orjson.dumps(told) + b"\n"
