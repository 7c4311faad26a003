"""A new key that signs audit heads: heads that were kept still count, and the old key signs no chain's end."""

from __future__ import annotations

from contextlib import suppress

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aggregator.audit import chain_file, keys, receipts, remembered, verify
from aggregator.audit.tables import AuditKeyRow, SignedHead
from aggregator.audit.verify import Finding, Kind, Remembered
from aggregator.errors import CallerError, OperatorError
from aggregator.vault.audit_key import AuditKey, successor, trusted
from aggregator.vault.key_ring import KeyRing
from tests.audit import chains, stranger
from tests.audit.chains import OTHER, forge, head_at
from tests.vault.world import World
from tests.weaken import weakens


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def recorded(world: World) -> World:
    """See tests/audit/chains.py; the list of keys is in the database, as after a start."""
    keys.settle(world.store, world.ring)
    chains.record(world)
    return world


def rotate(world: World) -> int:
    world.clock.advance(days=1)
    world.ring.rotate_audit(world.clock())
    return keys.settle(world.store, world.ring)


def found(world: World, key: bytes, *kept: Remembered, vault: str | None = None) -> Finding | None:
    """What we find who trust this key, after seeing that a stranger finds the same."""
    with world.store.read() as session:
        finding = verify.check(session, vault or world.vault, key, kept).finding
        text = b"".join(chain_file.lines(session, vault or world.vault, world.ring.audit_verification_key())).decode()
    said = (finding.kind.value, finding.first) if finding else ("", 0)
    assert stranger.verdict(text, key, [(one.vault, one.position, one.head) for one in kept]) == said
    return finding


def all_keys(world: World) -> list[bytes]:
    return [one.key for one in world.ring.audit_keys()]


def old_key(world: World) -> Ed25519PrivateKey:
    """As somebody has it who stole it before it was replaced."""
    return Ed25519PrivateKey.from_private_bytes(world.ring._rows.own("audit-heads"))


def test_whoever_trusts_any_of_the_keys_verifies_all(recorded: World) -> None:
    with recorded.store.read() as session:
        kept = orjson.dumps(remembered.as_json(remembered.newest(session, recorded.vault), all_keys(recorded)[0]))
        line = remembered.as_line(recorded.vault, 7, head_at(recorded, 7))
    for _ in range(2):
        assert rotate(recorded) == 2
        with recorded.store.write() as session:
            receipts.commit(session, recorded.ring, chains.receipts(recorded.vault, 1))
    first, second, third = all_keys(recorded)
    assert len({first, second, third}) == 3
    for key in (first, second, third):
        assert found(recorded, key) is None
        assert found(recorded, key, vault=OTHER) is None
        for text in (kept.decode(), line):
            (one,) = remembered.read(text, *all_keys(recorded))
            assert found(recorded, key, one) is None
    with pytest.raises(CallerError, match="by another key service"):
        remembered.read(kept.decode(), second, third)


@pytest.mark.attack(30)
@weakens("aggregator.audit.verify", "_wrongly_signed", lambda *_: None)
def test_who_has_the_old_key_and_the_database_makes_no_end(recorded: World) -> None:
    stolen = old_key(recorded)
    first = all_keys(recorded)[0]
    rotate(recorded)
    forge(recorded, stolen, 1)
    for key in all_keys(recorded):
        assert found(recorded, key) == Finding(Kind.SIGNATURE, 8)
    assert key != first


@pytest.mark.attack(30)
@weakens("aggregator.audit.verify", "_wrongly_signed", lambda *_: None)
def test_nor_where_the_newest_head_is_taken_away(recorded: World) -> None:
    stolen = old_key(recorded)
    rotate(recorded)
    forge(recorded, stolen, 1)
    recorded.sql("DELETE FROM signed_head WHERE vault = ? AND position = 7", recorded.vault)
    for key in all_keys(recorded):
        assert found(recorded, key) == Finding(Kind.SIGNATURE, 8)


def _row(world: World, made: AuditKey) -> None:
    values = (made.number, made.key, made.since, made.signature, made.vouched, True)
    world.sql("INSERT INTO audit_key VALUES (?, ?, ?, ?, ?, ?)", *values)


@pytest.mark.attack(30)
@weakens("aggregator.vault.audit_key", "_follows", lambda *_: True)
def test_a_key_that_no_key_before_it_signed_counts_nothing(recorded: World) -> None:
    (first,) = recorded.ring.audit_keys()
    own = Ed25519PrivateKey.generate()
    _row(recorded, successor(first, Ed25519PrivateKey.generate(), own, 0))
    forge(recorded, own, 2)
    assert found(recorded, first.key) == Finding(Kind.SIGNATURE, 8)


@pytest.mark.attack(30)
@weakens("aggregator.vault.audit_key", "_follows", lambda *_: True)
def test_a_key_before_the_first_counts_nothing(recorded: World) -> None:
    """Somebody signs our first key as the heir of theirs: our key has vouched for none."""
    (first,) = recorded.ring.audit_keys()
    own = Ed25519PrivateKey.generate()
    theirs = AuditKey(number=0, key=own.public_key().public_bytes_raw())
    heir = successor(theirs, own, own, 0)
    listed = [theirs, AuditKey(number=1, key=first.key, signature=own.sign(heir.statement(theirs.key)))]
    assert trusted(listed, first.key) == {1: first.key}


@pytest.mark.attack(30)
@weakens("aggregator.audit.keys", "is_signed", lambda *_: True)
def test_a_head_that_was_forged_is_not_signed_anew(recorded: World) -> None:
    forge(recorded, Ed25519PrivateKey.generate(), 1)
    rotate(recorded)
    assert found(recorded, all_keys(recorded)[1]) == Finding(Kind.SIGNATURE, 8)


@pytest.mark.attack(24)
@weakens("aggregator.vault.counter.Counter", "behind", lambda *_: False)
def test_a_chain_behind_its_counter_is_not_signed_anew(recorded: World) -> None:
    assert recorded.ring.remembered([recorded.vault])[recorded.vault].audit_position == 7
    chains.cut_back(recorded, 6)
    rotate(recorded)
    assert found(recorded, all_keys(recorded)[1]) == Finding(Kind.SIGNATURE, 6)


@pytest.mark.attack(48)
@pytest.mark.parametrize("step", [1, 2, 3])
def test_killed_on_the_way_the_next_start_ends_it(recorded: World, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed behind the ring's commit: before the list is in the database, and behind each batch."""
    monkeypatch.setattr(keys, "_AT_ONCE", 1)
    batches, whole = [], keys._batch

    def batch(*values: object) -> object:
        batches.append(values)
        if len(batches) == step:
            raise Killed
        return whole(*values)  # type: ignore[arg-type]

    with monkeypatch.context() as patched, suppress(Killed):
        patched.setattr(keys, "_batch", batch)
        rotate(recorded)
    recorded.ring.close()
    recorded.ring = KeyRing(recorded.folder / "keys")
    keys.settle(recorded.store, recorded.ring)
    assert keys.settle(recorded.store, recorded.ring) == 0
    assert len(all_keys(recorded)) == 2
    for key in all_keys(recorded):
        assert found(recorded, key) is None
        assert found(recorded, key, vault=OTHER) is None
    with recorded.store.read() as session:
        assert session.get_one(AuditKeyRow, 2).settled
        assert keys.signer(session, session.get_one(SignedHead, (recorded.vault, 7))) == all_keys(recorded)[1]


def test_while_somebody_uses_the_ring_its_audit_key_stays(recorded: World) -> None:
    other = KeyRing(recorded.folder / "keys")
    with pytest.raises(OperatorError, match="is in use"):
        recorded.ring.rotate_audit(recorded.clock())
    other.close()
    assert len(recorded.ring.audit_keys()) == 1
    recorded.ring.rotate_master()
    assert rotate(recorded) == 2
    recorded.ring.rotate_master()
    assert found(recorded, all_keys(recorded)[0]) is None
