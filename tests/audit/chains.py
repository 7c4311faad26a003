"""Two vaults with receipts in three commits, and what somebody with the database can do to them.

Positions 1 to 4 of the vault are the first commit's (with two of the other vault), 5 and 6 the second's, 7 the third's:
one opening each.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aggregator.audit import chain, merkle
from aggregator.audit.receipts import Opening, Sealed, commit
from aggregator.audit.verify import Kind
from aggregator.vault import tables
from aggregator.vault.seal import PrivateKey, SuiteId
from tests import databases
from tests.vault.world import World

OTHER = "b" * 26


def receipts(vault: str, number: int) -> list[Sealed]:
    """One opening's."""
    opening = Opening(vault, PrivateKey(bytes(32), SuiteId.X25519).public())
    return [opening.first({"kind": "opened"}), *(opening.next({"n": n}, None) for n in range(1, number))]


def record(world: World) -> None:
    """The chains described above."""
    with world.store.write() as session:
        row = session.get_one(tables.Vault, world.vault)
        session.add(tables.Vault(**(row.model_dump() | {"id": OTHER, "audit_head": chain.first_head(OTHER)})))
    for batch in (receipts(world.vault, 4) + receipts(OTHER, 2), receipts(world.vault, 2), receipts(world.vault, 1)):
        with world.store.write() as session:
            assert all(commit(session, world.ring, batch))


HERE = "WHERE vault = '{vault}'"
TAMPERING: dict[str, tuple[str, Kind, int]] = {
    "an edited entry": (f"UPDATE receipt SET box = CAST(box || x'00' AS BLOB) {HERE} AND position = 2", Kind.EDITED, 1),
    "an edited entry later": (f"UPDATE receipt SET box = zeroblob(9) {HERE} AND position = 6", Kind.EDITED, 5),
    "an edited opening": (f"UPDATE receipt SET opening = zeroblob(16) {HERE} AND position = 2", Kind.FOREIGN, 2),
    "an edited number": (f"UPDATE receipt SET number = 9 {HERE} AND position = 4", Kind.EDITED, 1),
    "a number beyond all": (f"UPDATE receipt SET number = 4294967297 {HERE} AND position = 2", Kind.EDITED, 2),
    "a number below all": (f"UPDATE receipt SET number = -1 {HERE} AND position = 2", Kind.EDITED, 2),
    "a deleted entry": (f"DELETE FROM receipt {HERE} AND position = 2", Kind.DELETED, 2),
    "a deleted entry, and the others moved up": (
        f"DELETE FROM receipt {HERE} AND position = 6;"
        f" UPDATE receipt SET position = position - 1 {HERE} AND position > 6",
        Kind.DELETED,
        5,
    ),
    "all positions moved": (f"UPDATE receipt SET position = position + 100 {HERE}", Kind.DELETED, 1),
    "a truncated chain": (f"DELETE FROM receipt {HERE} AND position = 7", Kind.TRUNCATED, 7),
    "an emptied chain": (f"DELETE FROM receipt {HERE}", Kind.TRUNCATED, 1),
    "two exchanged within an opening": (
        "UPDATE receipt SET number = CASE number WHEN 1 THEN 2 ELSE 1 END, box = (SELECT box FROM receipt r"
        " WHERE r.vault = receipt.vault AND r.position = 5 - receipt.position)" + f" {HERE} AND position IN (2, 3)",
        Kind.REORDERED,
        1,
    ),
    "two exchanged with their numbers left": (
        "UPDATE receipt SET box = (SELECT box FROM receipt r WHERE r.vault = receipt.vault"
        f" AND r.position = 5 - receipt.position) {HERE} AND position IN (2, 3)",
        Kind.EDITED,
        1,
    ),
    "another vault's box": (
        f"UPDATE receipt SET box = (SELECT box FROM receipt WHERE vault = '{OTHER}' AND position = 2)"
        f" {HERE} AND position = 2",
        Kind.EDITED,
        1,
    ),
    "another vault's receipt": (
        f"UPDATE receipt SET (opening, number, box) = (SELECT opening, number, box FROM receipt WHERE vault = '{OTHER}'"
        f" AND position = 2) {HERE} AND position = 2",
        Kind.FOREIGN,
        2,
    ),
    "an entry too many": (
        f"INSERT INTO receipt SELECT vault, 8, opening, number, box FROM receipt {HERE} AND position = 7",
        Kind.ADDED,
        8,
    ),
    "an entry before the first": (
        f"INSERT INTO receipt SELECT vault, 0, opening, number, box FROM receipt {HERE} AND position = 7",
        Kind.ADDED,
        0,
    ),
    "another head": ("UPDATE vault SET audit_head = zeroblob(32) WHERE id = '{vault}'", Kind.HEAD, 7),
    "another vault's head": (
        "UPDATE vault SET (audit_head, audit_position) = (SELECT audit_head, audit_position"
        f" FROM vault WHERE id = '{OTHER}')" + " WHERE id = '{vault}'",
        Kind.HEAD,
        7,
    ),
    "a position beyond the end": (
        "UPDATE vault SET audit_position = 9 WHERE id = '{vault}'",
        Kind.TRUNCATED,
        8,
    ),
    "a signature changed": (
        f"UPDATE signed_head SET signature = zeroblob(64) {HERE} AND position = 7",
        Kind.SIGNATURE,
        7,
    ),
    "a signed head changed": (f"UPDATE signed_head SET head = zeroblob(32) {HERE} AND position = 6", Kind.SIGNATURE, 6),
    "a signature gone": (f"DELETE FROM signed_head {HERE} AND position = 7", Kind.UNSIGNED, 7),
    "all signatures gone": (f"DELETE FROM signed_head {HERE}", Kind.UNSIGNED, 1),
    "no signature, and the end edited": (
        f"DELETE FROM signed_head {HERE} AND position = 7;"
        f" UPDATE receipt SET box = zeroblob(9) {HERE} AND position = 7",
        Kind.EDITED,
        7,
    ),
    "another place in the tree": (f"UPDATE signed_head SET leaf = 1 - leaf {HERE} AND position = 4", Kind.SIGNATURE, 4),
    "another path": (f"UPDATE signed_head SET path = zeroblob(32) {HERE} AND position = 4", Kind.SIGNATURE, 4),
    "no path": (f"UPDATE signed_head SET path = x'' {HERE} AND position = 4", Kind.SIGNATURE, 4),
    "half a path": (f"UPDATE signed_head SET path = substr(path, 1, 16) {HERE} AND position = 4", Kind.SIGNATURE, 4),
    "another size": (f"UPDATE signed_head SET size = 1 {HERE} AND position = 4", Kind.SIGNATURE, 4),
    "a signed head of another vault's": (
        f"UPDATE signed_head SET vault = '{{vault}}' WHERE vault = '{OTHER}'",
        Kind.SIGNATURE,
        2,
    ),
    "a signed head elsewhere": (f"UPDATE signed_head SET position = 5 {HERE} AND position = 4", Kind.SIGNATURE, 5),
    "a signed head below all": (f"UPDATE signed_head SET position = -5 {HERE} AND position = 4", Kind.SIGNATURE, -5),
}
"""What is done -> (its statements, what is found, from which receipt on)."""


def tamper(world: World, case: str) -> tuple[Kind, int]:
    """Do it; returns what must be found."""
    statements, kind, first = TAMPERING[case]
    for statement in statements.replace("{vault}", world.vault).split("; "):
        world.sql(statement)
    return kind, first


def rewrite(world: World, behind: int) -> bytes:
    """Entries, heads and the vault's row made anew behind a position, as the code makes them; returns the new head."""
    head = head_at(world, behind)
    world.sql("DELETE FROM receipt WHERE vault = ? AND position > ?", world.vault, behind)
    for position, one in enumerate(receipts(world.vault, 7 - behind), behind + 1):
        head = chain.next_head(head, one.opening, one.number, one.box)
        world.sql("INSERT INTO receipt VALUES (?, ?, ?, ?, ?)", one.vault, position, one.opening, one.number, one.box)
    world.sql("UPDATE vault SET audit_head = ? WHERE id = ?", head, world.vault)
    return head


def sign(world: World, position: int, head: bytes, signer: Ed25519PrivateKey) -> None:
    """A head signed by a key of one's own, in the right place."""
    signature = signer.sign(chain.SIGNED + chain.leaf(world.vault, position, head))
    values = (world.vault, position, head, 0, 1, b"", signature, 1)
    world.sql("DELETE FROM signed_head WHERE vault = ?", world.vault)
    world.sql("INSERT INTO signed_head VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *values)


def forge(world: World, signer: Ed25519PrivateKey, number: int) -> None:
    """One more receipt, the vault's row and a signed head, by somebody with the database and a key."""
    (one,) = receipts(world.vault, 1)
    head = chain.next_head(head_at(world, 7), one.opening, one.number, one.box)
    _, (path,) = merkle.tree([leaf := chain.leaf(world.vault, 8, head)])
    world.sql("INSERT INTO receipt VALUES (?, 8, ?, ?, ?)", world.vault, one.opening, one.number, one.box)
    values = (world.vault, head, path, signer.sign(chain.SIGNED + leaf), number)
    world.sql("INSERT INTO signed_head VALUES (?, 8, ?, 0, 1, ?, ?, ?)", *values)
    world.sql("UPDATE vault SET audit_head = ?, audit_position = 8 WHERE id = ?", head, world.vault)


def cut_back(world: World, position: int) -> None:
    """An earlier state, whole: receipts, signed heads and the vault's row."""
    head = head_at(world, position)
    world.sql("DELETE FROM receipt WHERE vault = ? AND position > ?", world.vault, position)
    world.sql("DELETE FROM signed_head WHERE vault = ? AND position > ?", world.vault, position)
    world.sql("UPDATE vault SET audit_position = ?, audit_head = ? WHERE id = ?", position, head, world.vault)


def head_at(world: World, position: int) -> bytes:
    """What the receipts make at this position."""
    head = chain.first_head(world.vault)
    with world.store.read() as session:
        query = "SELECT opening, number, box FROM receipt WHERE vault = ? AND position <= ? ORDER BY position"
        for row in session.connection().exec_driver_sql(databases.words(query), (world.vault, position)):
            head = chain.next_head(head, *row)
    return head
