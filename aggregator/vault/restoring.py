"""What a restored database must not bring back, and what its patients are told (FORMAT.md section 15).

Whatever the key service remembers beyond the backup happened and is lost: the grants of such a vault end, since the
Consents that ended or changed them are lost with the rest, until the patient signs anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import inspect
from sqlmodel import Session, col, select

from aggregator.vault import tables
from aggregator.vault.counter import Counter
from aggregator.vault.key_ring import KeyRing

Receipt = Callable[[Session, tables.Vault, str], None]
"""Appends the receipt that tells a vault's patient of the gap: (session, the vault's row, the sentence)."""


@dataclass(slots=True)
class Restored:
    """What came of it: how many vaults there are, lost something, and were left out because their keys are gone."""

    vaults: int = 0
    behind: int = 0
    ended_grants: int = 0
    left_out: int = 0
    heads: dict[str, Counter] = field(default_factory=dict)


def mend(session: Session, ring: KeyRing, receipt: Receipt, left_out: int) -> Restored:
    """Inside the transaction that loads: end what ended since, leave a receipt of each gap, count the heads."""
    made = Restored(left_out=left_out)
    lost, listed = ring.before_restore(), ring.listed_epochs()
    for vault in session.exec(select(tables.Vault.id).order_by(col(tables.Vault.id))).all():
        row = session.get_one(tables.Vault, vault)
        made.vaults += 1
        made.ended_grants += _end_dead_grants(session, ring, row, lost.get(vault))
        now, before = Counter.of(row), lost.get(vault)
        is_patients = bool(row.certificate)  # the system's own chain has no keys, and tells nobody
        if is_patients:
            # Of a grant made since nothing may be left, where the ring is as old; but who had it has kept its seeds.
            ring.expose(vault, max(row.epoch, before.epoch if before else 0, listed.get(vault, 0)))
        if before is not None and now.behind(before):
            made.behind += 1
            if is_patients:
                receipt(session, row, _gap(now, before))
        session.flush()
        session.refresh(row)
        made.heads[vault] = Counter.of(row)
        session.expunge(row)
    return made


def _end_dead_grants(session: Session, ring: KeyRing, row: tables.Vault, before: Counter | None) -> int:
    """All grants of a vault whose Consents moved on since the backup, or one of whose grants is dead: how many.

    Those too that were made since: of them only the key is left, and a copy of the row somewhere, which would open.
    """
    grants = session.exec(select(tables.Grant).where(tables.Grant.vault == row.id)).all()
    moved_on = before is not None and before.grant_version > row.grant_version
    if not moved_on and all(ring.holds_grant(one.vault, one.id) for one in grants):
        return 0
    for grant in {one.id for one in grants} | set(ring.grants(row.id)):  # their keys go at the next start
        session.merge(tables.GrantIntent(vault=row.id, grant=grant, ended=True))
    for one in grants:
        key = {name.name: getattr(one, name.name) for name in inspect(tables.EndedGrantee).primary_key}
        session.merge(tables.EndedGrantee(**key))
        session.delete(one)
    row.grant_version = max(row.grant_version, before.grant_version if before else 0) + 1
    session.flush()
    return len(grants)


def _gap(now: Counter, before: Counter) -> str:
    parts = (
        ("receipts", now.audit_position, before.audit_position),
        ("changes", now.log_position, before.log_position),
        ("grant versions", now.grant_version, before.grant_version),
    )
    return "; ".join(f"{name} {low + 1} to {high} are lost" for name, low, high in parts if low < high)
