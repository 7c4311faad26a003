"""The audit chain: heads, Merkle roots, and what checking finds."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import select

from aggregator.audit import chain
from aggregator.audit.chain import Verified, first_head, leaf, merkle_root, next_head
from aggregator.audit.receipts import Opening, Sealed, commit
from aggregator.audit.tables import SignedHeads
from aggregator.errors import Tampered
from aggregator.vault import tables
from aggregator.vault.seal import PrivateKey
from tests.vault.world import World

OTHER = "b" * 26


def receipts(vault: str, number: int) -> list[Sealed]:
    opening = Opening(vault, PrivateKey(bytes(32)).public())
    return [opening.first({"kind": "opened"}), *(opening.next({"n": n}, None) for n in range(1, number))]


@pytest.fixture
def recorded(world: World) -> World:
    """Two vaults; three commits: four receipts here and two there, two here, one here."""
    with world.store.write() as session:
        row = session.get_one(tables.Vault, world.vault)
        values = row.model_dump() | {"id": OTHER, "audit_head": first_head(OTHER)}
        session.add(tables.Vault(**values))
    for batch in (receipts(world.vault, 4) + receipts(OTHER, 2), receipts(world.vault, 2), receipts(world.vault, 1)):
        with world.store.write() as session:
            assert all(commit(session, world.ring, batch))
    return world


def check(world: World, vault: str | None = None) -> Verified:
    with world.store.read() as session:
        return chain.check(session, vault or world.vault, world.ring.audit_verification_key())


def head(world: World, vault: str) -> bytes:
    with world.store.read() as session:
        return session.get_one(tables.Vault, vault).audit_head


def test_a_chain_that_holds(recorded: World) -> None:
    assert check(recorded) == Verified(7, head(recorded, recorded.vault), 7)
    assert check(recorded, OTHER) == Verified(2, head(recorded, OTHER), 2)


def test_one_signature_a_commit(recorded: World) -> None:
    with recorded.store.read() as session:
        leaves = [len(row.leaves) // 32 for row in session.exec(select(SignedHeads))]
    assert leaves == [2, 1, 1]


TAMPERING = {
    "an edited entry": "UPDATE receipt SET box = CAST(box || x'00' AS BLOB) WHERE vault = '{vault}' AND position = 2",
    "an edited opening": "UPDATE receipt SET opening = zeroblob(16) WHERE vault = '{vault}' AND position = 2",
    "an edited number": "UPDATE receipt SET number = 9 WHERE vault = '{vault}' AND position = 2",
    "a deleted entry": "DELETE FROM receipt WHERE vault = '{vault}' AND position = 2",
    "all positions moved": "UPDATE receipt SET position = position + 100 WHERE vault = '{vault}'",
    "a truncated chain": "DELETE FROM receipt WHERE vault = '{vault}' AND position = 7",
    "an emptied chain": "DELETE FROM receipt WHERE vault = '{vault}'",
    "an order exchanged": "UPDATE receipt SET number = CASE number WHEN 1 THEN 2 ELSE 1 END, box = (SELECT box FROM"
    " receipt r WHERE r.vault = '{vault}' AND r.position = CASE receipt.position WHEN 2 THEN 3 ELSE 2 END)"
    " WHERE vault = '{vault}' AND position IN (2, 3)",
    "an entry of another vault": "UPDATE receipt SET box = (SELECT box FROM receipt WHERE vault = '" + OTHER + "' AND"
    " position = 2) WHERE vault = '{vault}' AND position = 2",
    "an entry too many": "INSERT INTO receipt SELECT vault, 8, opening, number, box FROM receipt WHERE position = 7",
    "another head": "UPDATE vault SET audit_head = zeroblob(32) WHERE id = '{vault}'",
    "another vault's head": "UPDATE vault SET (audit_head, audit_position) = (SELECT audit_head, audit_position"
    " FROM vault WHERE id = '" + OTHER + "') WHERE id = '{vault}'",
    "a signature changed": "UPDATE signed_heads SET signature = zeroblob(64) WHERE id = 3",
    "a signature gone": "DELETE FROM signed_heads WHERE id = 3",
    "a leaf gone": "UPDATE signed_heads SET leaves = substr(leaves, 1, 32) WHERE id = 1",
    "no leaf at all": "UPDATE signed_heads SET leaves = x'' WHERE id = 3",
    "half a leaf": "UPDATE signed_heads SET leaves = substr(leaves, 1, 16) WHERE id = 3",
}


@pytest.mark.parametrize("case", TAMPERING)
@pytest.mark.attack(30)
def test_tampering_is_found(recorded: World, case: str) -> None:
    recorded.sql(TAMPERING[case].replace("{vault}", recorded.vault))
    with pytest.raises(Tampered):
        check(recorded)


@pytest.mark.attack(30)
def test_a_chain_rewritten_whole_lacks_the_key_services_signature(recorded: World) -> None:
    """Entries, heads and leaves made anew, as the code makes them, but by a signer of one's own."""
    forged, at = receipts(recorded.vault, 7), first_head(recorded.vault)
    recorded.sql("DELETE FROM receipt WHERE vault = ?", recorded.vault)
    for position, one in enumerate(forged, 1):
        at = next_head(at, one.opening, one.number, one.box)
        recorded.sql(
            "INSERT INTO receipt VALUES (?, ?, ?, ?, ?)", one.vault, position, one.opening, one.number, one.box
        )
    recorded.sql("UPDATE vault SET audit_head = ? WHERE id = ?", at, recorded.vault)
    with pytest.raises(Tampered, match="head is not signed"):
        check(recorded)
    leaves = leaf(recorded.vault, 7, at)
    signature = Ed25519PrivateKey.generate().sign(b"PRA1/heads" + merkle_root([leaves]))
    recorded.sql("INSERT INTO signed_heads (leaves, signature) VALUES (?, ?)", leaves, signature)
    with pytest.raises(Tampered, match="signature of a stored audit head"):
        check(recorded)


@pytest.mark.attack(24, 30)
def test_a_chain_cut_back_to_an_earlier_commit_is_found_against_the_remembered_head(recorded: World) -> None:
    """All that the check sees is right, for it was so once. What finds it is the head that somebody remembered."""
    remembered = check(recorded)
    position, at = 0, first_head(recorded.vault)
    with recorded.store.read() as session:
        for row in session.connection().exec_driver_sql(
            "SELECT opening, number, box FROM receipt WHERE vault = ? AND position <= 6 ORDER BY position",
            (recorded.vault,),
        ):
            position, at = position + 1, next_head(at, *row)
    recorded.sql("DELETE FROM receipt WHERE vault = ? AND position > 6", recorded.vault)
    recorded.sql("UPDATE vault SET audit_position = 6, audit_head = ? WHERE id = ?", at, recorded.vault)
    cut = check(recorded)
    assert cut == Verified(6, at, 6)
    assert cut.receipts < remembered.receipts


def test_there_is_no_chain_without_a_vault(recorded: World) -> None:
    with pytest.raises(Tampered, match="there is no such chain"):
        check(recorded, "c" * 26)


def test_another_key_services_signatures_do_not_count(recorded: World) -> None:
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    with recorded.store.read() as session, pytest.raises(Tampered, match="signature of a stored audit head"):
        chain.check(session, recorded.vault, other)


# Heads and Merkle roots.


def test_every_part_of_a_receipt_is_in_the_head() -> None:
    base = {"head": bytes(32), "opening": bytes(16), "number": 1, "box": b"box"}
    others = [{"head": b"\1" * 32}, {"opening": b"\1" * 16}, {"number": 2}, {"box": b"boX"}]
    made = [next_head(**(base | other)) for other in [{}, *others]]  # type: ignore[arg-type] - each is a head's part
    assert len(set(made)) == 5


def test_every_part_of_a_leaf_is_in_it() -> None:
    assert len({leaf("a", 1, b"h"), leaf("b", 1, b"h"), leaf("a", 2, b"h"), leaf("a", 1, b"i")}) == 4


def test_the_roots_of_rfc_6962() -> None:
    """Its own definition, spelled out for one to five leaves."""

    def node(left: bytes, right: bytes) -> bytes:
        return hashlib.sha256(b"\1" + left + right).digest()

    a, b, c, d, e = (hashlib.sha256(b"\0" + bytes([n])).digest() for n in range(5))
    assert merkle_root([a]) == a
    assert merkle_root([a, b]) == node(a, b)
    assert merkle_root([a, b, c]) == node(node(a, b), c)
    assert merkle_root([a, b, c, d]) == node(node(a, b), node(c, d))
    assert merkle_root([a, b, c, d, e]) == node(node(node(a, b), node(c, d)), e)


hashes = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=40)


@given(hashes, hashes)
def test_other_leaves_give_another_root(one: list[bytes], other: list[bytes]) -> None:
    assert (merkle_root(one) == merkle_root(other)) == (one == other)
