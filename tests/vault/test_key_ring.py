"""The embedded key service: its files, whom it opens a grant for, and what it never does."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from aggregator.audit import receipts
from aggregator.audit.receipts import Opening
from aggregator.consent.grant import open_grant, signed
from aggregator.errors import KeysMissing, OperatorError, Refused, Tampered
from aggregator.vault import tables
from aggregator.vault.encoding import b64, canonical
from aggregator.vault.key_ring import KeyRing
from aggregator.vault.key_service import Admission, SignedGrant, Ticket
from aggregator.vault.keys import Root
from aggregator.vault.seal import header
from aggregator.vault.worker_keys import WorkerKeys
from tests.vault.world import DR_B, LABORATORY, FrozenClock, World
from tests.weaken import weakens
from tests.weakened import any_header

HEAD = header("unlocker", "a", name="password")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    KeyRing.create(tmp_path / "ring").close()
    return tmp_path / "ring"


def modes(folder: Path) -> dict[str, str]:
    return {path.name: oct(path.stat().st_mode & 0o777) for path in sorted(folder.iterdir())}


def test_its_files_are_its_owners_alone(folder: Path) -> None:
    assert oct(folder.stat().st_mode & 0o777) == "0o700"
    assert modes(folder) == dict.fromkeys(("counters.db", "feed.key", "master.key", "ring.db", "worker.key"), "0o600")


def test_it_comes_back_with_what_it_held(folder: Path) -> None:
    ring = KeyRing(folder)
    ring.create_vault("a", bytes(32))
    box = ring.lock("a", HEAD, b"root")
    ring.close()
    again = KeyRing(folder)
    assert (again.unlock("a", HEAD, box), again.verification_key("a"), again.ring) == (b"root", bytes(32), ring.ring)
    again.close()


def test_a_new_ring_never_replaces_one(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(OperatorError, match="is not empty; a new key ring never replaces what is there"):
        KeyRing.create(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def _missing(path: Path) -> None:
    path.unlink()


def _readable(path: Path) -> None:
    path.chmod(0o640)


def _written(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


WRONG = {
    "missing": (_missing, KeysMissing, "is missing. Restore the key ring from its backup"),
    "readable by others": (_readable, OperatorError, "can be read by others; run: chmod 600 "),
    "short": (_written("00" * 31), OperatorError, "does not hold 32 bytes in hex"),
    "long": (_written("00" * 33), OperatorError, "does not hold 32 bytes in hex"),
    "empty": (_written(""), OperatorError, "does not hold 32 bytes in hex"),
    "no hex": (_written("x" * 64), OperatorError, "does not hold 32 bytes in hex"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize(
    ("name", "open_"), [("master.key", KeyRing), ("worker.key", WorkerKeys.read), ("feed.key", WorkerKeys.read)]
)
def test_a_wrong_key_file_is_the_operators(folder: Path, case: str, name: str, open_: Callable[[Path], object]) -> None:
    spoil, error, told = WRONG[case]
    spoil(folder / name)
    with pytest.raises(error) as caught:
        open_(folder)
    assert str(caught.value).startswith(f"{folder / name} ")
    assert told in str(caught.value)


def test_a_lost_ring_is_never_an_empty_one(folder: Path) -> None:
    (folder / "ring.db").unlink()
    with pytest.raises(KeysMissing, match=r"ring\.db is missing\. Restore the key ring from its backup"):
        KeyRing(folder)
    assert not (folder / "ring.db").exists()


def test_another_master_key_opens_nothing(folder: Path) -> None:
    (folder / "master.key").write_text("01" * 32)
    with pytest.raises(OperatorError, match="the master key is not the one"):
        KeyRing(folder)


@pytest.mark.attack(21)
@weakens("aggregator.vault.seal", "_split", any_header)
def test_keys_are_bound_to_their_vault(folder: Path) -> None:
    """Exchange two vaults' rows in ring.db: neither opens in the other's place."""
    ring = KeyRing(folder)
    for vault in "ab":
        ring.create_vault(vault, bytes(32))
    box = ring.lock("a", HEAD, b"root")
    with pytest.raises(Tampered, match="belongs to another key"):
        ring.unlock("b", HEAD, box)
    ring.close()
    with sqlite3.connect(folder / "ring.db") as db:
        db.execute("UPDATE vault SET shred = (SELECT shred FROM vault WHERE id = 'b') WHERE id = 'a'")
    db.close()
    ring = KeyRing(folder)
    with pytest.raises(Tampered, match="stands where another belongs"):
        ring.unlock("a", HEAD, box)
    ring.close()


def test_a_vault_that_it_does_not_hold(folder: Path) -> None:
    ring = KeyRing(folder)
    for attempt in (
        lambda: ring.verification_key("a"),
        lambda: ring.unlock("a", HEAD, b""),
        lambda: ring.lock("a", HEAD, b""),
    ):
        with pytest.raises(Refused, match="the key service holds no such key"):
            attempt()
    ring.close()


# Tickets.


def admission(clock: FrozenClock) -> Admission:
    return Admission(party="praxis-b", purpose="TREAT", scopes=("a", "b"), expires=int(clock().timestamp()) + 60)


def test_a_ticket_stands_for_its_admission_until_it_expires(world: World) -> None:
    ticket = Ticket("token", world.ring.admit("token", admission(world.clock)))
    assert world.ring.identify(ticket, world.clock()) == admission(world.clock)
    world.clock.advance(seconds=59)
    world.ring.identify(ticket, world.clock())
    world.clock.advance(seconds=1)
    with pytest.raises(Refused, match="the token has expired"):
        world.ring.identify(ticket, world.clock())


def test_neither_token_nor_row_alone_is_a_ticket(world: World, tmp_path: Path) -> None:
    row = world.ring.admit("token", admission(world.clock))
    with pytest.raises(Tampered):
        world.ring.identify(Ticket("other", row), world.clock())
    with pytest.raises(Tampered):
        world.ring.identify(Ticket("token", b""), world.clock())
    other = KeyRing.create(tmp_path / "other")
    with pytest.raises(Tampered):
        other.identify(Ticket("token", row), world.clock())
    other.close()


# Grants.


@pytest.fixture
def granted(world: World) -> tables.Grant:
    """Dr B's grant, as it is stored; the laboratory has one as well."""
    world.permit(DR_B, LABORATORY)
    return world.grant(DR_B)


def opens(world: World, grant: SignedGrant, ticket: Ticket | None = None) -> bytes:
    return world.ring.open_grant(grant, ticket or world.ticket(), world.opening(), world.clock())


def test_a_grant_opens_for_its_grantee(world: World, granted: tables.Grant) -> None:
    made = open_grant(granted, world.ring, world.ticket(), world.opening(), world.clock())
    assert made.verification_key == world.owner.root.verification_key
    assert made.patient == world.owner.patient
    assert made.seeds["results"] == world.owner.root.section(world.owner.sections["results"])


@pytest.mark.attack(4, 9)
def test_a_grant_opens_for_nobody_else(world: World, granted: tables.Grant) -> None:
    with pytest.raises(Refused, match="this grant is another party's"):
        opens(world, signed(granted), world.ticket(LABORATORY))


def test_a_grant_opens_with_no_expired_ticket(world: World, granted: tables.Grant) -> None:
    ticket = world.ticket(minutes=5)
    world.clock.advance(minutes=5)
    with pytest.raises(Refused, match="the token has expired"):
        opens(world, signed(granted), ticket)


@pytest.mark.attack(31)
@weakens("aggregator.vault.openings.Openings", "use", lambda *_: True)
def test_no_grant_opens_before_its_receipt_is_durable(world: World, granted: tables.Grant) -> None:
    """An id that the key service was never told of, one that was told for another vault, and one that was used."""
    told = world.opening()
    world.ring.open_grant(signed(granted), world.ticket(), told, world.clock())
    for opening in (bytes(16), world.opening(vault="b"), told):
        with pytest.raises(Refused, match="no receipt of this opening"):
            world.ring.open_grant(signed(granted), world.ticket(), opening, world.clock())


@pytest.mark.attack(31)
@weakens("aggregator.vault.openings.Openings", "use", lambda *_: True)
def test_an_opening_is_remembered_for_a_minute(
    world: World, granted: tables.Grant, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, later = [world.opening(), world.opening()], time.monotonic() + 60
    monkeypatch.setattr("aggregator.vault.openings.time.monotonic", lambda: later)
    with pytest.raises(Refused, match="no receipt of this opening"):
        world.ring.open_grant(signed(granted), world.ticket(), told[0], world.clock())
    world.opening()
    assert len(world.ring._openings._until) == 1


@pytest.mark.attack(31)
@weakens("aggregator.vault.openings.Openings", "use", lambda *_: True)
def test_a_receipt_that_was_not_written_opens_no_grant(world: World, granted: tables.Grant) -> None:
    """The commit fails: the key service was told of nothing."""
    opening = Opening(world.vault, world.owner.root.audit.public())
    with suppress(ZeroDivisionError), world.store.write(world.vault) as session:
        receipts.commit(session, world.ring, [opening.first({"kind": "opened"})])
        raise ZeroDivisionError
    with pytest.raises(Refused, match="no receipt of this opening"):
        world.ring.open_grant(signed(granted), world.ticket(), opening.id, world.clock())
    with world.store.write(world.vault) as session:
        receipts.commit(session, world.ring, [opening.first({"kind": "opened"})])
    assert world.ring.open_grant(signed(granted), world.ticket(), opening.id, world.clock())


@pytest.mark.attack(27)
@weakens("aggregator.vault.grant_keys", "verify", lambda *_: None)
def test_a_grant_forged_by_sql_is_refused(world: World, granted: tables.Grant) -> None:
    """The certificate rewritten for another grantee, with the old signature, and with one of the forger's own root."""
    stated = canonical({"kind": "grant", "grantee": b64(world.ring.handle("party", LABORATORY.id))})
    certificate = granted.certificate[:-1] + b"," + stated[1:]
    for signature in (granted.signature, Root.generate().sign(b"PRA1/grant" + certificate)):
        world.sql('UPDATE "grant" SET certificate = ?, signature = ? WHERE id = ?', certificate, signature, granted.id)
        with world.store.read() as session:
            row = session.get_one(tables.Grant, (world.vault, granted.id))
        with pytest.raises(Tampered, match="the signature of a stored grant is wrong"):
            opens(world, signed(row), world.ticket(LABORATORY))


@pytest.mark.attack(22, 27)
@weakens("aggregator.vault.grant_keys", "verify", lambda *_: None, about=(22, 27))
def test_a_whole_grant_of_a_forged_root_is_not_registered(world: World) -> None:
    """With the vault's row replaced as well: the key service believes the key that it pinned, not the database's."""
    forger = Root.generate()
    world.sql("UPDATE vault SET verification_key = ? WHERE id = ?", forger.verification_key, world.vault)
    stated = {"kind": "grant", "vault": world.vault, "grant": "g", "grantee": "", "epoch": 1}
    certificate = canonical(stated | {"body": hashlib.sha256(b"payload").hexdigest()})
    forged = SignedGrant(world.vault, "g", certificate, forger.sign(b"PRA1/grant" + certificate))
    with pytest.raises(Tampered, match="the signature of a stored grant is wrong"):
        world.ring.register_grant(forged, b"payload")


def test_a_certificate_of_another_payload_is_not_registered(world: World, granted: tables.Grant) -> None:
    with pytest.raises(Refused, match="this grant's certificate is another's"):
        world.ring.register_grant(signed(granted), b"another payload")


@pytest.mark.attack(21)
@weakens("aggregator.vault.seal", "_split", any_header)
def test_a_box_in_another_grants_row_does_not_open(world: World, granted: tables.Grant) -> None:
    other = world.grant(LABORATORY)
    with pytest.raises(Tampered, match="a stored grant stands where another belongs"):
        opens(world, replace(signed(granted), box=other.box))


@pytest.mark.attack(21)
@weakens("aggregator.vault.seal", "_split", any_header)
def test_another_grants_whole_row_under_this_id_does_not_open(world: World, granted: tables.Grant) -> None:
    other = world.grant(LABORATORY)
    with pytest.raises(Tampered, match="a stored grant stands where another belongs"):
        opens(world, SignedGrant(world.vault, granted.id, other.certificate, other.signature, other.box))


@pytest.mark.attack(21)
def test_a_grant_in_another_vault_does_not_open(world: World, granted: tables.Grant) -> None:
    world.ring.create_vault("b", world.owner.root.verification_key)
    foreign = replace(signed(granted), vault="b")
    with pytest.raises(Refused, match="the key service holds no such key"):
        world.ring.open_grant(foreign, world.ticket(), world.opening(vault="b"), world.clock())


@pytest.mark.attack(17, 25)
@weakens("aggregator.vault.key_ring.KeyRing", "destroy_grant", lambda *_, **__: None, about=(25,))
def test_a_destroyed_grant_is_dead_in_every_copy_of_the_database(world: World, granted: tables.Grant) -> None:
    """At once; also for a process that keeps ring.db open, and with the row put back from a backup of the store."""
    other = KeyRing(world.folder / "keys")
    world.ring.destroy_grant(granted.vault, granted.id)
    for ring in (world.ring, other):
        with pytest.raises(Refused, match="the key service holds no such key"):
            ring.open_grant(signed(granted), world.ticket(), world.opening(ring), world.clock())
    other.close()
    with pytest.raises(Refused, match="the key service holds no such key"):
        world.opened(DR_B)
    assert world.opened(LABORATORY).patient == world.owner.patient


def test_destroying_twice_is_once_and_is_written_down(world: World, granted: tables.Grant) -> None:
    for _ in range(2):
        world.ring.destroy_grant(granted.vault, granted.id)
    lines = (world.folder / "keys" / "destroyed").read_text().splitlines()
    told = [f"grant {granted.vault} {granted.id} {epoch} ended" for epoch in (1, 0)]  # of no key, no epoch is known
    assert [line.partition(" ")[2] for line in lines[-2:]] == told


@pytest.mark.attack(25)
def test_a_destroyed_key_is_in_no_free_page_of_the_ring(world: World, granted: tables.Grant) -> None:
    with sqlite3.connect(world.folder / "keys" / "ring.db") as db:
        (key,) = db.execute("SELECT key FROM grant_key WHERE id = ?", (granted.id,)).fetchone()
    db.close()
    assert any(key[-64:] in path.read_bytes() for path in (world.folder / "keys").iterdir())
    world.ring.destroy_grant(granted.vault, granted.id)
    assert not any(key[-64:] in path.read_bytes() for path in (world.folder / "keys").iterdir())


def test_its_database_keeps_nothing_that_was_deleted(world: World) -> None:
    """Some builds of SQLite overwrite by default, so the test above alone would not notice the setting's absence."""
    (mode,) = world.ring._rows._db.execute("PRAGMA journal_mode").fetchone()
    (overwrites,) = world.ring._rows._db.execute("PRAGMA secure_delete").fetchone()
    assert (mode, overwrites) == ("delete", 1)


def test_a_revocation_that_was_interrupted_is_finished_at_the_next_start(world: World, granted: tables.Grant) -> None:
    with world.store.write() as session:
        session.add(tables.GrantIntent(vault=granted.vault, grant=granted.id))
    world.grants.finish_revocations()
    with pytest.raises(Refused, match="the key service holds no such key"):
        world.opened(DR_B)
    with world.store.read() as session:
        assert session.get(tables.GrantIntent, (granted.vault, granted.id)) is None
