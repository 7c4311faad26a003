"""The keys change while a source is pulled: nothing is lost, and nothing is written under the old ones."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlmodel import col, select

from aggregator.errors import Stale
from aggregator.sync.writing import EpochEnded, Prepared, VaultWriter
from aggregator.vault import epochs, tables, truth
from aggregator.vault.envelope import claim
from aggregator.vault.epochs import unpacked
from aggregator.vault.keys import Root
from tests.sync.sync_world import SyncWorld, batch, observation, patient, skipped
from tests.vault.world import DR_B, LABORATORY, consent
from tests.weaken import weakens


def rotate(syncing: SyncWorld) -> None:
    """A grantee comes and goes."""
    owner = syncing.fresh()
    syncing.world.signing.save_consent(owner, consent([DR_B, LABORATORY]))
    syncing.world.grants.end(owner, DR_B.id)


def assert_sealed_in_their_epochs(syncing: SyncWorld) -> None:
    """Every envelope lies under the keys of the epoch that its place is in, and none was refused."""
    world = syncing.world
    with syncing.store.read() as session:
        row = truth.head(session, world.vault, world.owner.root.verification_key)
        listed = epochs.read(row, row.verification_key)
        entries = session.exec(select(tables.LogEntry).order_by(col(tables.LogEntry.position))).all()
        assert [claim(one.envelope).epoch for one in entries] == [listed.at(one.position) for one in entries]
    assert world.truth().refused == {}


def stepping_in(monkeypatch: pytest.MonkeyPatch, do: Any) -> list[Prepared]:
    """Have something happen between the sealing of each batch and its commit; returns what was sealed."""
    prepared: list[Prepared] = []
    prepare = VaultWriter.prepare

    def prepare_then(self: VaultWriter, *args: Any) -> Prepared:
        made = prepare(self, *args)
        prepared.append(made)
        do(len(prepared))
        return made

    monkeypatch.setattr(VaultWriter, "prepare", prepare_then)
    return prepared


@pytest.mark.attack(17, 29)
@weakens("aggregator.sync.writing", "_require_epoch", lambda *_: None)
def test_a_rotation_between_sealing_and_commit_has_the_batch_sealed_again(
    syncing: SyncWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = syncing.connect()
    syncing.clinic.says([batch(patient(), observation("o1")), batch(observation("o2"), skipped("o3"))])
    sealed = stepping_in(monkeypatch, lambda number: rotate(syncing) if number in (1, 3) else None)
    outcome = syncing.run(connection)
    assert (outcome.stored, outcome.quarantined, outcome.status) == (3, 1, "fresh")
    assert [one.epoch for one in sealed] == [1, 2, 2, 3]
    assert_sealed_in_their_epochs(syncing)
    assert {name: len(held) for name, held in syncing.record().items()} == {"identity": 2, "results": 2, "unsorted": 2}
    assert list(syncing.aside().values()) == ["checksum"]
    again = syncing.run(connection, again=True)
    assert (again.stored, again.unchanged) == (0, 3)


def test_a_rotation_between_two_batches(syncing: SyncWorld) -> None:
    connection = syncing.connect()
    pulled = [batch(patient(), observation("o1")), lambda: rotate(syncing), batch(observation("o2"))]
    syncing.clinic.says(pulled)
    assert syncing.run(connection).stored == 3
    assert_sealed_in_their_epochs(syncing)


def test_a_feed_reseals_as_well(syncing: SyncWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    syncing.verify()
    syncing.feed.says([batch(patient(), observation("o1"))])
    stepping_in(monkeypatch, lambda number: rotate(syncing) if number == 1 else None)
    syncing.run_feed()
    assert_sealed_in_their_epochs(syncing)


def test_keys_that_change_at_every_try_end_the_run_and_lose_nothing(
    syncing: SyncWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = syncing.connect()
    syncing.clinic.says([batch(patient(), observation("o1"))])
    with monkeypatch.context() as patched:
        stepping_in(patched, lambda _: rotate(syncing))
        outcome = syncing.run(connection)
    assert (outcome.status, outcome.error) == ("late", "the vault's keys keep changing")
    assert outcome.stored == 0
    assert syncing.run(connection).stored == 2
    assert issubclass(EpochEnded, Stale)


def test_rotations_beside_a_long_run(syncing: SyncWorld) -> None:
    """Two threads, no order between them."""
    connection = syncing.connect()
    syncing.clinic.says([batch(patient()), *(batch(observation(f"o{n}")) for n in range(12))])
    done = threading.Event()
    rotating = threading.Thread(target=_rotate_until, args=(syncing, done))
    rotating.start()
    try:
        outcome = syncing.run(connection)
    finally:
        done.set()
        rotating.join()
    assert (outcome.status, outcome.stored) == ("fresh", 13)
    assert syncing.world.epoch > 1
    assert_sealed_in_their_epochs(syncing)


def _rotate_until(syncing: SyncWorld, done: threading.Event) -> None:
    while True:
        rotate(syncing)
        if done.wait(0.05):
            return


@pytest.mark.attack(22)
@weakens("aggregator.vault.epochs", "_keys_of", lambda _listed, row: unpacked(row.keys))
def test_a_run_seals_nothing_to_keys_that_somebody_put_there(syncing: SyncWorld) -> None:
    world, stranger = syncing.world, Root.generate()
    connection = syncing.connect()
    syncing.clinic.says([batch(patient(), observation("o1"))])
    with syncing.store.read() as session:
        keys = session.get_one(tables.SectionKeys, (world.vault, 1)).keys
    forged = {id_: stranger.section(id_).private_key().public().raw for id_ in unpacked(keys)}
    world.sql("UPDATE section_keys SET keys = ? WHERE vault = ?", epochs.packed(forged), world.vault)
    outcome = syncing.run(connection)
    assert (outcome.status, outcome.stored) == ("broken", 0)
    with syncing.store.read() as session:
        assert [claim(one.envelope).writer for one in session.exec(select(tables.LogEntry))] == ["owner"]
    world.sql("UPDATE section_keys SET keys = ? WHERE vault = ?", keys, world.vault)
    assert syncing.run(connection).stored == 2


@pytest.mark.attack(24)
@weakens("aggregator.vault.fold.State", "expect", lambda *_: None)
def test_a_ledger_row_that_was_put_back_has_nothing_counted_again(syncing: SyncWorld) -> None:
    """One row alone, older than the log: what the writer makes of it bears numbers that were there before."""
    connection = syncing.connect()
    syncing.clinic.says([batch(patient(), observation("o1"))], [batch(observation("o2"))], [batch(observation("o3"))])
    syncing.run(connection)
    with syncing.store.read() as session:
        old = session.exec(select(tables.Ledger)).one()
    syncing.run(connection)
    syncing.world.sql("UPDATE ledger SET revision = ?, box = ? WHERE vault = ?", old.revision, old.box, old.vault)
    syncing.run(connection)
    told = syncing.world.truth()
    assert list(told.refused.values()) == [
        "it is a copy of an older one, or stands elsewhere than where it was written"
    ]
    assert set(syncing.record()["results"]) == {syncing.local("Observation/o1"), syncing.local("Observation/o2")}
