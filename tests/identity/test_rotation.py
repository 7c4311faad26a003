"""Keys change where a grant ends: what its holder remembers opens nothing that is written from then on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import orjson
import pytest
from sqlmodel import col, select

from aggregator.consent.decide import Party
from aggregator.errors import RolledBack, Stale, Tampered
from aggregator.identity.accounts import Owner
from aggregator.identity.grant_archive import Archived
from aggregator.identity.grants import Grants
from aggregator.identity.signing import Signing
from aggregator.vault import epochs, snapshot, tables, truth, view
from aggregator.vault.envelope import read_envelope
from aggregator.vault.epochs import Epochs, GrantedSeeds, KeyChain
from aggregator.vault.keys import Root, SectionSeed, Writer
from aggregator.vault.seal import expand, header, read_header, unwrap
from fhir_profiles.profiles import SECTION_SYSTEM
from tests.vault.world import DR_B, LABORATORY, LOGIN, PASSWORD, World, consent
from tests.weaken import weakens

RESULTS = {"class": [{"system": SECTION_SYSTEM, "code": "results"}]}
ONE_SEED_FOR_ALL = lambda self, id_, epoch=1: SectionSeed(id_, epoch, expand(self.secret, f"section/{id_}/1"))  # noqa: E731


def fresh(world: World) -> Owner:
    """The owner, just unlocked."""
    return replace(world.owner, unlocked_at=world.clock())


def vault_row(world: World) -> tables.Vault:
    with world.store.read() as session:
        return truth.head(session, world.vault, world.owner.root.verification_key)


def listed(world: World) -> Epochs:
    return epochs.read(vault_row(world), world.owner.root.verification_key)


def who_may_read(world: World) -> list[str]:
    with world.store.read() as session:
        held = set(session.exec(select(tables.Grant.grantee)))
    return [party.id for party in (LABORATORY, DR_B) if world.ring.handle("party", party.id) in held]


def revoke(world: World) -> None:
    """Dr B's grant ends by the owner's signature; the laboratory's stands."""
    world.grants.end(fresh(world), DR_B.id)


def permit_again(world: World, party: Party) -> None:
    world.signing.save_consent(fresh(world), consent([party]))


def granted(world: World) -> Mapping[str, SectionSeed]:
    """The laboratory and Dr B may read; what Dr B's service holds in its memory."""
    world.permit(DR_B, LABORATORY)
    return world.opened(DR_B).seeds


# --- when


def test_a_new_vault_is_in_its_first_epoch(world: World) -> None:
    assert listed(world) == Epochs([1], listed(world).keys)


def test_what_takes_nothing_away_changes_no_keys(world: World) -> None:
    world.permit(DR_B, **RESULTS)
    world.permit(DR_B)
    world.permit(LABORATORY)
    assert (world.epoch, world.ring.rotation_due(world.vault)) == (1, 0)


def test_a_section_less_changes_the_keys_in_the_same_commit(world: World) -> None:
    given = world.permit(DR_B, LABORATORY)
    position = vault_row(world).log_position
    narrowed = {**given, "provision": {**given["provision"], **RESULTS}}
    world.signing.save_consent(world.owner, narrowed, given["id"].partition(".")[2])
    assert (world.epoch, listed(world).firsts) == (2, [1, position + 2])  # the Consent itself still lies in the first
    assert {seed.epoch for seed in world.opened().seeds.values()} == {2}
    assert {seed.epoch for seed in world.opened(LABORATORY).seeds.values()} == {2}


def test_a_party_that_the_operator_took_away_loses_what_it_had(world: World) -> None:
    world.permit(DR_B, LABORATORY)
    grants = Grants(world.store, world.ring, world.accounts, [LABORATORY], world.clock)
    smaller = Signing(world.store, world.accounts, grants, world.clock)
    smaller.save_consent(world.owner, consent([LABORATORY]))
    assert world.epoch == 2


def test_ending_a_grant_with_a_fresh_unlock_changes_the_keys_at_once(world: World) -> None:
    world.permit(DR_B, LABORATORY)
    assert world.grants.end(fresh(world), DR_B.id) == 1
    assert world.epoch == 2
    assert {seed.epoch for seed in world.opened(LABORATORY).seeds.values()} == {2}
    assert world.grants.end(fresh(world), DR_B.id) == 0
    assert world.epoch == 2


@pytest.mark.attack(24, 25)
@weakens("aggregator.vault.key_ring.KeyRing", "rotation_due", lambda *_: 0, about=(24,))
def test_a_database_cannot_withhold_that_the_keys_must_change(world: World) -> None:
    """Without a fresh unlock nothing is signed; the key service remembers it until an owner session comes."""
    world.permit(DR_B, LABORATORY)
    world.clock.advance(minutes=20)
    assert world.grants.end(world.owner, DR_B.id) == 1
    assert world.epoch == 1
    world.sql("DELETE FROM grant_intent")
    world.sql("DELETE FROM ended_grantee")
    owner = world.accounts.sign_in(LOGIN, PASSWORD)
    assert world.grants.settle(owner)
    assert world.epoch == 2
    assert who_may_read(world) == [LABORATORY.id]  # who was ended stays ended, whatever the table says
    assert not world.grants.settle(owner)
    assert world.epoch == 2


def test_signing_settles_what_waits(world: World) -> None:
    world.permit(DR_B, LABORATORY)
    world.clock.advance(minutes=20)
    world.grants.end(world.owner, DR_B.id)
    permit_again(world, LABORATORY)
    assert world.epoch == 2


@pytest.mark.attack(24, 25)
@weakens("aggregator.identity.grants", "archive", lambda *_: Archived([], {}), about=(24,))
def test_a_grant_version_that_is_gone_from_the_archive_counts_as_lost(world: World) -> None:
    """Nobody can say what its grantees held, and who was ended: none has a grant until a Consent names it anew."""
    world.permit(DR_B)
    world.sql("DELETE FROM grant_archive")
    world.permit(LABORATORY)
    assert (world.epoch, who_may_read(world)) == (2, [LABORATORY.id])
    permit_again(world, DR_B)
    assert (world.epoch, who_may_read(world)) == (2, [LABORATORY.id, DR_B.id])


@pytest.mark.attack(24, 25)
def test_a_database_that_was_restored_steps_over_every_epoch_whose_seeds_somebody_has_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seeds come from the root: an epoch that is begun a second time has those of the first."""
    world.permit(DR_B, LABORATORY)
    world.append("results", world.put("Observation/1"))
    with monkeypatch.context() as patched:
        patched.setattr(world.ring, "rotation_due", lambda _: 3)
        assert world.grants.settle(fresh(world))
    assert world.epoch == 4
    world.append("results", world.put("Observation/2"))
    assert world.truth().refused == {}
    assert world.open(world.grantee(LABORATORY)).image.count("Observation") == 2


@pytest.mark.attack(48)
@weakens("aggregator.identity.grants.Grants", "finish_revocations", lambda _: None)
def test_a_crash_before_the_key_is_destroyed_still_makes_it_due(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.permit(DR_B, LABORATORY)
    world.clock.advance(minutes=20)
    with monkeypatch.context() as patched:
        patched.setattr(world.ring, "destroy_grant", _killed)
        with pytest.raises(_Killed):
            world.grants.end(world.owner, DR_B.id)
    assert world.ring.rotation_due(world.vault) == 0
    Grants(world.store, world.ring, world.accounts, [DR_B, LABORATORY], world.clock).finish_revocations()
    assert world.ring.rotation_due(world.vault) == 1


@pytest.mark.attack(48)
def test_a_crash_after_the_rotation_leaves_nothing_half_done(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.permit(DR_B, LABORATORY)
    world.clock.advance(minutes=20)
    world.grants.end(world.owner, DR_B.id)
    with monkeypatch.context() as patched:
        patched.setattr(world.ring, "destroy_grant", _killed)
        with pytest.raises(_Killed):
            world.grants.settle(fresh(world))
    assert {seed.epoch for seed in world.opened(LABORATORY).seeds.values()} == {2}
    world.grants.finish_revocations()
    assert not world.grants.settle(fresh(world))
    assert (world.epoch, set(world.opened(LABORATORY).seeds) > {"results"}) == (2, True)


UNTIL_TOMORROW = {"period": {"start": "2026-11-01", "end": "2026-11-22"}}


@pytest.mark.attack(18, 25)
@weakens("aggregator.consent.reach", "_is_past", lambda *_: False, about=(18, 25))
@weakens("aggregator.identity.grant_archive.Archived", "lost", lambda *_: False, about=(25,))
def test_what_a_grantee_kept_whose_time_has_passed_opens_nothing_new(world: World) -> None:
    """Nobody ended the grant: its period did, and the next owner session changes the keys."""
    world.permit(DR_B, **UNTIL_TOMORROW)
    world.permit(LABORATORY)
    remembered = world.opened(DR_B).seeds
    assert not world.grants.settle(fresh(world))
    world.clock.advance(days=2)
    assert world.grants.settle(fresh(world))
    assert (world.epoch, who_may_read(world)) == (2, [LABORATORY.id])
    position = world.append("results", world.put("Observation/1"))
    assert f"log {position}" not in opened_by(world, remembered)
    assert not world.grants.settle(fresh(world))
    assert world.epoch == 2


def test_a_section_whose_time_has_passed_changes_the_keys_and_the_rest_stays_open(world: World) -> None:
    world.permit(DR_B, **UNTIL_TOMORROW)
    world.permit(DR_B, **RESULTS)
    world.clock.advance(days=2)
    permit_again(world, LABORATORY)  # whatever is signed next settles it as well
    assert (world.epoch, set(world.opened(DR_B).seeds)) == (2, {"results", "directory"})


class _Killed(BaseException):
    """The process died."""


def _killed(*_: object, **__: object) -> None:
    raise _Killed


def test_of_two_owner_sessions_at_once_one_changes_the_keys(world: World) -> None:
    world.permit(DR_B, LABORATORY)
    world.clock.advance(minutes=20)
    world.grants.end(world.owner, DR_B.id)
    with ThreadPoolExecutor(4) as sessions:
        done = list(sessions.map(lambda _: world.grants.settle(fresh(world)), range(8)))
    assert (sorted(done), world.epoch) == ([False] * 7 + [True], 2)
    assert {seed.epoch for seed in world.opened(LABORATORY).seeds.values()} == {2}


# --- what a former grantee's memory is worth


def opened_by(world: World, seeds: Mapping[str, SectionSeed]) -> list[str]:
    """What is at rest and opens with these seeds, as they are and with all that lies beside the epochs' keys."""
    with world.store.read() as session:
        entries = session.exec(select(tables.LogEntry).order_by(col(tables.LogEntry.position))).all()
        parts = session.exec(select(tables.SnapshotSection)).all()
        boxes = session.exec(select(tables.SectionKeys).where(tables.SectionKeys.epoch > 1)).all()
    found = []
    for seed in [*seeds.values(), *_derived(world.vault, seeds, boxes)]:
        for entry in entries:
            envelope = read_envelope(entry.envelope)
            stated = envelope.claim
            head = header("envelope", world.vault, section=stated.section, epoch=stated.epoch, writer=stated.writer)
            with suppress(Tampered):
                seed.private_key().open(head | {"number": stated.number}, envelope.box)
                found.append(f"log {entry.position}")
        for part in parts:
            with suppress(Tampered):
                unwrap(seed.snapshot_key(), orjson.loads(read_header(part.box)), part.box)
                found.append(f"snapshot {part.section}")
    return found


def _derived(vault: str, seeds: Mapping[str, SectionSeed], rows: list[tables.SectionKeys]) -> list[SectionSeed]:
    """What the boxes beside the keys give to one who holds these seeds, whatever epoch is written on them."""
    made = []
    for row in rows:
        for seed in seeds.values():
            box = epochs.unpacked(row.earlier)[seed.id]
            for epoch in (row.epoch - 1, row.epoch):
                with suppress(Tampered):
                    made.append(epochs.before(vault, SectionSeed(seed.id, epoch, seed.seed), box))
    return made


def _snapshot_as_before(found: truth.Truth, reader: view.Reader, root: Root) -> snapshot.Made:
    seeds = {name: root.section(section, 1) for name, section in reader.seeds.ids.items()}
    return snapshot.make(found.vault, root, found.state, seeds, found.left)


@pytest.mark.attack(25, 27)
@weakens("aggregator.vault.epochs", "rotate", lambda *_: None, about=(25,))
@weakens("aggregator.vault.keys.Root", "section", ONE_SEED_FOR_ALL, about=(25,))
@weakens("aggregator.vault.view", "_snapshot", _snapshot_as_before, about=(25,))
def test_a_former_grantees_seeds_open_nothing_new_and_soon_nothing_at_all(world: World) -> None:
    """Kept by a compromised process, with the whole database at hand."""
    remembered = granted(world)
    before = world.append("results", world.put("Observation/1"))
    assert f"log {before}" in opened_by(world, remembered)
    revoke(world)
    world.append("results", world.put("Observation/2"))
    world.append("results", world.put("Observation/3"), writer=world.connect().writer)
    assert f"log {before}" in opened_by(world, remembered)  # what they could read they may have copied
    assert {int(one.partition(" ")[2]) for one in opened_by(world, remembered)} <= set(range(1, before + 1))
    world.open()  # the next look of the owner's folds the log: what was readable goes as well
    assert opened_by(world, remembered) == []
    assert world.open().image.count("Observation") == 3


@pytest.mark.attack(25)
@weakens("aggregator.vault.keys.Root", "section", ONE_SEED_FOR_ALL)
def test_nothing_is_reachable_forward(world: World) -> None:
    remembered = granted(world)
    revoke(world)
    newer = world.owner.seed("results", 2)
    with world.store.read() as session:
        chain = KeyChain(session, world.vault, GrantedSeeds(remembered))
        with pytest.raises(Tampered, match="do not open"):
            chain.seed("results", 2)
        box = epochs.unpacked(session.get_one(tables.SectionKeys, (world.vault, 2)).earlier)[newer.id]
        with pytest.raises(Tampered, match="belongs to another key"):
            epochs.before(world.vault, replace(remembered["results"], epoch=2), box)
    assert epochs.before(world.vault, newer, box) == remembered["results"]


def test_a_view_opened_with_a_grant_that_was_replaced_is_stale(world: World) -> None:
    world.permit(DR_B, LABORATORY)
    reader = world.grantee(LABORATORY)
    revoke(world)
    with pytest.raises(Stale):
        world.open(reader)
    assert world.open(world.grantee(LABORATORY)).image.count("Patient") == 1


def test_who_stays_opens_what_is_older_from_the_newest_seeds(world: World) -> None:
    """Three epochs in one log, and in a snapshot with a log behind it."""
    granted(world)
    world.append("results", world.put("Observation/1"))
    for number in (2, 3):
        permit_again(world, DR_B)
        revoke(world)
        world.append("results", world.put(f"Observation/{number}"))
    assert (world.epoch, world.open(world.grantee(LABORATORY)).image.count("Observation")) == (3, 3)
    assert world.open().image.count("Observation") == 3
    permit_again(world, DR_B)
    revoke(world)
    world.append("results", world.put("Observation/4"))
    assert world.open(world.grantee(LABORATORY)).image.count("Observation") == 4
    with world.store.read() as session:
        keys = [len(row.keys) for row in session.exec(select(tables.SectionKeys).order_by(tables.SectionKeys.epoch))]
    assert [length > 0 for length in keys] == [False, False, False, True]  # public keys of the newest alone


@pytest.mark.attack(21)
@weakens("aggregator.vault.epochs", "_before_header", lambda *_: header("seed", "", name=""))
def test_the_way_back_of_another_epoch_leads_nowhere(world: World) -> None:
    """The rows of two epochs, swapped by SQL, open nothing under another epoch's name."""
    granted(world)
    revoke(world)
    seed = world.owner.seed("results", 2)
    with world.store.read() as session:
        box = epochs.unpacked(session.get_one(tables.SectionKeys, (world.vault, 2)).earlier)[seed.id]
    with pytest.raises(Tampered):
        epochs.before(world.vault, replace(seed, epoch=3), box)
    with pytest.raises(Tampered):
        epochs.before("a" * 26, seed, box)


# --- what the log takes

OF_ANOTHER = "it is of another epoch than its place in the log"


@pytest.mark.attack(28, 29)
@pytest.mark.parametrize("by", ["writer", "owner"])
@weakens("aggregator.vault.epochs.Epochs", "at", lambda *_: 1, about=(28,))
def test_an_envelope_under_old_keys_behind_a_rotation_is_left_out(
    world: World, by: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that was not told, or does not want to know: else a former grantee could go on reading."""
    mandate = world.connect()
    granted(world)
    revoke(world)
    writer = mandate.writer if by == "writer" else Writer.owner(world.owner.root)
    number = vault_row(world).log_position + 1
    with caplog.at_level(logging.WARNING):
        position = world.append_raw(
            world.envelope("results", world.put("Observation/1"), writer=writer, number=number, epoch=1)
        )
        world.append("results", world.put("Observation/2"))
        assert world.truth().refused == {position: OF_ANOTHER}
    assert f"vault log: position {position} is refused: {OF_ANOTHER}" in caplog.messages


@pytest.mark.attack(22, 24)
@weakens("aggregator.vault.epochs", "read", lambda row, _: Epochs([1] * row.epoch, ""), about=(22,))
def test_the_column_alone_makes_no_epoch(world: World) -> None:
    """Else the next Consent compiles grants for keys that no section has."""
    granted(world)
    revoke(world)
    world.sql("UPDATE vault SET epoch = 3 WHERE id = ?", world.vault)
    with pytest.raises(Tampered, match="names an epoch that there is not"):
        vault_row(world)
    with pytest.raises(Tampered, match="names an epoch that there is not"):
        world.permit()


@pytest.mark.attack(22, 24)
@weakens("aggregator.vault.counter", "_extends", lambda *_: True, about=(22,))
def test_the_key_service_remembers_no_epoch_that_the_root_has_not_signed(world: World) -> None:
    """Else one row, written once, would have every honest one refused as older ever after."""
    world.sql("UPDATE vault SET epoch = 999 WHERE id = ?", world.vault)
    assert not reads(world)
    world.sql("UPDATE vault SET epoch = 1 WHERE id = ?", world.vault)
    assert reads(world)


@pytest.mark.attack(22, 24)
@weakens("aggregator.vault.grant_version", "_mark", lambda vault, _: vault.grant_mark, about=(22, 24))
def test_the_key_service_remembers_no_grant_version_that_it_did_not_mark(world: World) -> None:
    """Neither one that never was, nor an honest one's mark beside another."""
    world.permit(DR_B)
    world.sql("UPDATE vault SET grant_version = grant_version + 1000000 WHERE id = ?", world.vault)
    assert not reads(world)
    world.sql("UPDATE vault SET grant_version = grant_version - 1000000 WHERE id = ?", world.vault)
    assert reads(world)


def test_a_grant_version_that_the_key_service_has_not_heard_of_counts(world: World) -> None:
    """The process died between commit and counter."""
    with world.unwatched():
        world.permit(DR_B)
        world.grants.stop(world.vault, DR_B.id)
    assert reads(world)
    assert world.ring.remembered([world.vault])[world.vault].grant_version == 2


def reads(world: World) -> bool:
    try:
        vault_row(world)
    except (Tampered, RolledBack):
        return False
    return True


@pytest.mark.attack(22, 24)
@weakens("aggregator.vault.counter.Counter", "behind", lambda *_: False, about=(24,))
def test_a_list_that_was_put_back_is_taken_by_no_writer(world: World) -> None:
    """The old list, its keys and its column, all as the root signed them once."""
    with world.store.read() as session:
        old, keys = session.get_one(tables.Vault, world.vault), session.get_one(tables.SectionKeys, (world.vault, 1))
    granted(world)
    revoke(world)
    put_back = "UPDATE vault SET epoch = 1, epochs = ?, epochs_signature = ? WHERE id = ?"
    world.sql(put_back, old.epochs, old.epochs_signature, world.vault)
    world.sql("UPDATE section_keys SET keys = ? WHERE epoch = 1", keys.keys)
    with world.store.read() as session, pytest.raises(RolledBack):
        epochs.writable(session, world.vault, world.ring.verification_key(world.vault))
