"""The list of keys that sign heads, as it lies in the database; and heads that are signed anew with the newest.

The list shows by itself whom it may be believed from (vault/audit_key.py). The newest head of every chain is always
signed by the newest key: so whoever has an older one can put no head at a chain's end.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session, col, select, update

from aggregator.audit import chain, merkle
from aggregator.audit.tables import AuditKeyRow, SignedHead
from aggregator.audit.verify import is_signed
from aggregator.vault.audit_key import AuditKey
from aggregator.vault.counter import Counter
from aggregator.vault.key_service import KeyService
from aggregator.vault.store import Store
from aggregator.vault.tables import Vault

_AT_ONCE = 500  # heads under one signature


def listed(session: Session) -> list[AuditKey]:
    """By number."""
    rows = session.exec(select(AuditKeyRow).order_by(col(AuditKeyRow.number))).all()
    return [row.told() for row in rows]


def signer(session: Session, head: SignedHead) -> bytes:
    """The public key with this head's number; nothing where the list has none."""
    row = session.get(AuditKeyRow, head.key_number)
    return row.key if row else b""


def settle(store: Store, key_service: KeyService) -> int:
    """The list is the key service's, and every chain ends under the newest key: how many heads were signed anew.

    Asked at each start, and finished there where a rotation or a restore was interrupted. What does not hold (another's
    signature, a vault behind its counter) is left as it is, and found by whoever verifies the chain.
    """
    keys = {one.number: one for one in key_service.audit_keys()}
    newest = max(keys)
    with store.read() as session:
        row = session.get(AuditKeyRow, newest)
        if row is not None and row.settled:
            return 0
    with store.write() as session:
        there = set(session.exec(select(AuditKeyRow.number)))
        session.add_all(AuditKeyRow.of(one) for number, one in keys.items() if number not in there)
    made = 0
    last: str | None = ""
    while last is not None:
        last, done = _batch(store, key_service, {number: one.key for number, one in keys.items()}, newest, last)
        made += done
    with store.write() as session:
        session.exec(update(AuditKeyRow).where(col(AuditKeyRow.number) == newest).values(settled=True))
    return made


def _batch(
    store: Store, key_service: KeyService, keys: dict[int, bytes], newest: int, behind: str
) -> tuple[str | None, int]:
    """One transaction over vaults by id; the last one's, or None behind all of them."""
    with store.write() as session:
        ends = (col(SignedHead.vault) == Vault.id, col(SignedHead.position) == Vault.audit_position)
        wanted = select(SignedHead, Vault).join(Vault, ends[0] & ends[1])
        older = wanted.where(col(SignedHead.key_number) < newest, col(SignedHead.vault) > behind)
        found = session.exec(older.order_by(col(SignedHead.vault)).limit(_AT_ONCE)).all()
        remembered = key_service.remembered([head.vault for head, _ in found])
        good = [
            head
            for head, row in found
            if head.head == row.audit_head
            and is_signed(head, keys.get(head.key_number, b""))
            and not (row.id in remembered and Counter.of(row).behind(remembered[row.id]))
        ]
        _sign(key_service, good, newest)
        return (found[-1][0].vault if len(found) == _AT_ONCE else None), len(good)


def _sign(key_service: KeyService, heads: Sequence[SignedHead], newest: int) -> None:
    if not heads:
        return
    root, paths = merkle.tree([chain.leaf(one.vault, one.position, one.head) for one in heads])
    signature = key_service.sign_heads(root)
    for index, (head, path) in enumerate(zip(heads, paths, strict=True)):
        head.leaf, head.size, head.path = index, len(heads), path
        head.signature, head.key_number = signature, newest
