"""After an erasure nothing opens: not by the right password, from no backup of the database, and that was tried."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import SQLModel, select, update

from aggregator.app import _system_chain
from aggregator.audit import receipts
from aggregator.audit.receipts import SYSTEM
from aggregator.audit.tables import Receipt
from aggregator.errors import AggregatorError, CallerError, SignInFailed, Tampered
from aggregator.identity import unlockers
from aggregator.portability import certificate_text
from aggregator.portability import erase as erasing
from aggregator.portability.erase import OPERATOR_ORDER, OWNER_ORDER, Certificate, check, erase, finish_erasures
from aggregator.sync.tables import Quarantine
from aggregator.vault import tables
from aggregator.vault.encoding import canonical
from tests import databases
from tests.portability import rich
from tests.portability.rich import place, taken
from tests.sync.sync_world import SyncWorld, second_owner
from tests.vault.world import LOGIN, PASSWORD, World
from tests.weaken import weakens

DAYS = 30


def erased(world: World, by: str = OWNER_ORDER, password: str = PASSWORD) -> Certificate:
    made = place(world)
    try:
        return erase(made, world.vault, by, DAYS, {unlockers.PASSWORD: password})
    finally:
        made.receipts.close()


def left(world: World) -> dict[str, int]:
    """Table -> rows that name the vault."""
    found = dict[str, int]()
    with world.store.read() as session:
        for table in SQLModel.metadata.sorted_tables:
            for name in {"vault", "owner"} & set(table.c.keys()) | ({"id"} if table.name == "vault" else set()):
                rows = session.connection().execute(select(table).where(table.c[name] == world.vault)).all()
                found |= {table.name: len(rows)} if rows else {}
    return found


def test_it_says_what_was_destroyed_and_what_was_tried(syncing: SyncWorld) -> None:
    world = syncing.world
    world.accounts.sign_in(LOGIN, PASSWORD)
    certificate = erased(world)
    told = certificate.told()
    assert (told["vault"], told["ordered_by"], told["destroyed"]["shred_keys"]) == (world.vault, "owner", 1)
    assert (told["destroyed"]["grant_keys"], told["destroyed"]["attachments"]) == (1, 2)
    assert told["destroyed"]["rows"] > 20
    assert told["tried"] == {
        "password": {"tried": 1, "opened_before": 1, "opened_after": 0},
        "right password": {"tried": 1, "opened_before": 1, "opened_after": 0},
        "recovery": {"tried": 1, "opened_before": 1, "opened_after": 0},
        "session": {"tried": 1, "opened_before": 1, "opened_after": 0},
        "grant": {"tried": 1, "opened_before": 1, "opened_after": 0},
    }
    assert told["key_backups"] == {"retention_days": 30, "until": "2026-12-21T21:30:00.000Z"}


def test_nothing_of_it_is_left_but_the_row_that_says_so(syncing: SyncWorld) -> None:
    world = syncing.world
    other = second_owner(world)
    erased(world)
    assert left(world) == {"erasure": 1}
    assert list(world.blobs.ids()) == []
    with world.store.read() as session:
        assert session.exec(select(Quarantine)).all() == []
        assert session.get(tables.Vault, other.vault) is not None
    assert world.accounts.owner(other.token).vault == other.vault


@pytest.mark.attack(26)
def test_nobody_signs_in_any_more(syncing: SyncWorld) -> None:
    world = syncing.world
    token = world.accounts.sign_in(LOGIN, PASSWORD).token
    erased(world)
    for attempt in (
        lambda: world.accounts.sign_in(LOGIN, PASSWORD),
        lambda: world.accounts.owner(token),
        lambda: world.accounts.owner(world.owner.token),
    ):
        with pytest.raises(SignInFailed):
            attempt()


@pytest.mark.attack(26)
@weakens("aggregator.vault.key_ring.KeyRing", "destroy_vault", lambda _ring, _vault: None)
def test_a_row_from_a_backup_does_not_open_with_the_right_password(syncing: SyncWorld) -> None:
    world = syncing.world
    row, grant = world.unlocker(), world.grant()
    with suppress(Tampered):  # the weakened build notices as well
        erased(world)
    with pytest.raises(Tampered):
        unlockers.unlock(world.ring, row, PASSWORD)
    with pytest.raises(AggregatorError):
        world.ring.unlock(world.vault, erasing._grant_header(grant), grant.box)


@pytest.mark.attack(26)
@pytest.mark.sqlite_only(reason="the database's file is put back")
def test_a_whole_database_from_before_does_not_open_with_the_right_password(syncing: SyncWorld, tmp_path: Path) -> None:
    world = syncing.world
    world.store.checkpoint()
    kept = tmp_path / "backup.db"
    shutil.copy(world.folder / "store" / "aggregator.db", kept)
    blobs = tmp_path / "backup-blobs"
    shutil.copytree(world.folder / "blobs", blobs)
    erased(world)
    world.store.close()
    for old in (world.folder / "store").iterdir():
        old.unlink()
    shutil.copy(kept, world.folder / "store" / "aggregator.db")
    store = databases.store_in(world.folder / "store" / "aggregator.db")
    accounts = type(world.accounts)(store, world.ring, world.clock, 1800, 300)
    with pytest.raises(AggregatorError):
        accounts.sign_in(LOGIN, PASSWORD)
    with store.read() as session:  # it is all there, as noise
        assert session.get(tables.Vault, world.vault) is not None
    store.close()


@pytest.mark.attack(26)
@weakens("aggregator.portability.erase", "_doors", lambda *_: [])
def test_where_something_opens_still_nothing_is_deleted_and_no_certificate_is_given(
    syncing: SyncWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = syncing.world
    before = left(world)
    with monkeypatch.context() as patch:
        patch.setattr("aggregator.vault.key_ring.KeyRing.destroy_vault", lambda _ring, _vault: None)
        with pytest.raises(Tampered, match="opens still"):
            erased(world)
    assert left(world) == before | {"erasure": 1}
    made = place(world)
    assert finish_erasures(made, DAYS) == 1
    made.receipts.close()
    assert left(world) == {"erasure": 1}


class KilledHereError(BaseException):
    """The process ends."""


@pytest.mark.parametrize("step", ["_doors", "_delete_blobs", "_delete_rows", "_receipt", "checkpoint"])
def test_a_start_finishes_what_died(syncing: SyncWorld, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world = syncing.world
    target = "aggregator.vault.store.Store" if step == "checkpoint" else "aggregator.portability.erase"

    def die(*_: object) -> None:
        raise KilledHereError

    with monkeypatch.context() as patch:
        patch.setattr(f"{target}.{step}", die)
        with pytest.raises(KilledHereError):
            erased(world)
    made = place(world)
    assert finish_erasures(made, DAYS) == (step != "checkpoint")
    assert finish_erasures(made, DAYS) == 0
    made.receipts.close()
    assert left(world) == {"erasure": 1}
    with world.store.read() as session:
        row = session.get_one(tables.Erasure, world.vault)
    check(Certificate(row.certificate, row.signature, world.ring.audit_verification_key()))
    assert list(world.blobs.ids()) == []


def test_the_certificate_is_the_key_services_word(syncing: SyncWorld) -> None:
    certificate = erased(syncing.world, OPERATOR_ORDER)
    check(certificate)
    assert certificate.key == syncing.world.ring.audit_verification_key()
    told = certificate.told() | {"vault": "b" * 26}
    with pytest.raises(Tampered):
        check(replace(certificate, statement=canonical(told)))
    said = certificate_text.text(certificate.as_json())
    for words in (syncing.world.vault, "30 Tage", "30 days", "des Betreibers", "the operator", "Signature: "):
        assert words in said


def test_the_systems_chain_has_its_receipt(syncing: SyncWorld) -> None:
    world = syncing.world
    with world.store.write() as session:
        session.add(_system_chain(world.ring))
    erased(world)
    with world.store.read() as session:
        ((_, entry),) = receipts.read(
            session.exec(select(Receipt).where(Receipt.vault == SYSTEM)).all(), SYSTEM, world.ring.system_audit()
        )
    assert entry == {
        "kind": "erased",
        "at": "2026-11-21T21:30:00.000Z",
        "party": "owner",
        "name": "owner",
        "query": world.vault,
    }


def test_a_record_that_is_not_here_is_told(world: World) -> None:
    made = place(world)
    for vault in ("b" * 26, SYSTEM):
        with pytest.raises(CallerError, match="no such record"):
            erase(made, vault, OPERATOR_ORDER, DAYS)
    made.receipts.close()


def test_asked_again_it_gives_the_certificate_that_is_there(world: World) -> None:
    """Who ordered it may not have seen the first."""
    first = erased(world)
    world.clock.advance(minutes=5)
    assert erased(world, OPERATOR_ORDER) == first


@pytest.mark.parametrize("forged", [{"vault": "b" * 26}, {"signature": bytes(64)}], ids=lambda one: next(iter(one)))
def test_a_certificate_that_the_key_service_did_not_sign_for_this_record_is_not_given(
    world: World, forged: dict[str, Any]
) -> None:
    erased(world)
    with world.store.write() as session:
        session.exec(update(tables.Erasure).values(forged))
    made, vault = place(world), forged.get("vault", world.vault)
    with pytest.raises(Tampered):
        erase(made, vault, OPERATOR_ORDER, DAYS)
    made.receipts.close()


def look_away(place: Any, _: str) -> None:
    """The import, and the key service behind it: either alone keeps an erased record out."""
    place.key_service._rows.erased = lambda _: False


@pytest.mark.attack(26)
@weakens("aggregator.portability.imported", "_refuse_known", look_away)
def test_an_erased_record_does_not_come_back_under_its_id(syncing: SyncWorld) -> None:
    made = taken(syncing.world)
    erased(syncing.world)
    with pytest.raises(CallerError, match="erased"):
        rich.moved(syncing.world, made, "erika.zurück")
