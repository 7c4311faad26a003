"""The truth, folded and at rest: it gives back what it was given, and belongs to its manifest."""

from __future__ import annotations

import hashlib
import struct

import pytest
from sqlmodel import col, select

from aggregator.errors import RolledBack, Tampered
from aggregator.vault import snapshot, tables, truth
from aggregator.vault.columns import pack, unpack
from aggregator.vault.envelope import Delete, Remove
from aggregator.vault.epochs import GrantedSeeds
from aggregator.vault.fold import State
from aggregator.vault.keys import Root
from aggregator.vault.seal import header, unwrap, wrap
from tests.vault.world import World
from tests.weaken import weakens
from tests.weakened import EqualToAll


@pytest.fixture
def before(world: World) -> State:
    """History, a tombstone and two sections, folded into a snapshot; gives the state as the log told it."""
    world.append("results", world.put("Observation/1", {"value": [',"resource":', 'x"y']}), world.put("Observation/2"))
    world.append("results", world.put("Observation/1", {"value": [0.5]}, version=2))
    world.append("problems", world.put("Condition/1"), writer=world.connect().writer)
    gone = world.put("Observation/2")
    world.append("results", Delete(local=gone.local, resource_type="Observation", version=2, updated=gone.updated))
    told = world.truth()
    assert (told.tail, told.refused) == (5, {})
    world.open()
    return told.state


def log_positions(world: World) -> list[int]:
    with world.store.read() as session:
        return list(session.exec(select(tables.LogEntry.position).order_by(col(tables.LogEntry.position))))


def test_it_gives_back_the_state(world: World, before: State) -> None:
    again = world.truth()
    assert (again.state, again.tail) == (before, 0)
    writers = {version.writer for kept in again.state.sections["problems"].values() for version in kept}
    assert len(writers) == 1
    assert "owner" not in writers


def test_the_log_before_it_goes_with_it_alone(world: World, before: State) -> None:
    assert log_positions(world) == []
    position = world.append("results", world.put("Observation/3"))
    assert log_positions(world) == [position]
    world.truth()
    assert log_positions(world) == [position]
    world.open()
    assert log_positions(world) == []
    assert world.truth().state.position == position == before.position + 1


@pytest.mark.usefixtures("before")
def test_a_transaction_that_fails_keeps_log_and_snapshot(world: World) -> None:
    position = world.append("results", world.put("Observation/3"))
    told = world.truth()
    with pytest.raises(RuntimeError, match="power cut"):
        _write_and_fail(world, told.state)
    assert log_positions(world) == [position]
    assert world.truth() == told


def _write_and_fail(world: World, state: State) -> None:
    with world.store.write() as session:
        row = session.get_one(tables.Vault, world.vault)
        newest = {name: world.owner.seed(name, row.epoch) for name in world.owner.sections}
        snapshot.write(session, snapshot.make(row, world.owner.root, state, newest))
        raise RuntimeError("power cut")


def test_a_line_holds_what_the_format_says(world: World, before: State) -> None:
    seed = world.owner.root.section(world.owner.sections["problems"])
    with world.store.read() as session:
        row = session.get_one(tables.SnapshotSection, (world.vault, seed.id, 0))
    text = unwrap(seed.snapshot_key(), header("snapshot", world.vault, section=seed.id, epoch=1, name="0"), row.box)
    put = world.put("Condition/1")
    (version,) = before.sections["problems"][put.local]
    assert text.startswith(put.resource + b"\n")
    (size,) = struct.unpack(">I", text[-4:])
    (beside,) = unpack(text[-4 - size : -4])
    assert len(text) == len(put.resource) + 1 + size + 4
    assert beside == {
        "op": "put",
        "version": 1,
        "updated": put.updated,
        "origin": put.origin,
        "warnings": [],
        "position": 4,
        "writer": version.writer,
    }


def test_it_needs_no_key_of_a_section_that_it_is_not_asked_for(world: World, before: State) -> None:
    seeds = GrantedSeeds({"problems": world.owner.seed("problems", 1)})
    with world.store.read() as session:
        row = truth.head(session, world.vault, world.owner.root.verification_key)
        assert truth.read(session, row, seeds).state.sections == {"problems": before.sections["problems"]}


TAMPERING = {
    "a changed section": "UPDATE snapshot_section SET box = CAST(box || x'00' AS BLOB) WHERE section = '{results}'",
    "a missing section": "DELETE FROM snapshot_section WHERE section = '{results}'",
    "a section in another's place": "UPDATE snapshot_section SET box = (SELECT box FROM snapshot_section"
    " WHERE section = '{problems}') WHERE section = '{results}'",
    "a changed manifest": "UPDATE snapshot SET manifest = CAST(replace(manifest, '5', '4') AS BLOB)",
    "a changed signature": "UPDATE snapshot SET signature = zeroblob(64)",
    "another position": "UPDATE snapshot SET position = 4",
    "no manifest": "DELETE FROM snapshot",
}


@pytest.mark.usefixtures("before")
@pytest.mark.parametrize("case", TAMPERING)
@pytest.mark.attack(21)
def test_tampering_is_found(world: World, case: str) -> None:
    world.sql(TAMPERING[case].format_map(world.owner.sections))
    with pytest.raises(Tampered):
        world.truth()


@pytest.mark.usefixtures("before")
@pytest.mark.attack(21)
@weakens("aggregator.vault.snapshot", "verify", lambda *_: None)
def test_a_manifest_signed_by_another_root_is_refused(world: World) -> None:
    with world.store.write() as session:
        row = session.get_one(tables.Snapshot, world.vault)
        row.signature = Root.generate().sign(b"PRA1/snapshot" + row.manifest)
        session.add(row)
    with pytest.raises(Tampered, match="signature of a stored snapshot"):
        world.truth()


@pytest.mark.usefixtures("before")
@pytest.mark.attack(21)
def test_a_manifest_of_another_vault_is_refused(world: World) -> None:
    """Signed by the right root, were one root to hold two vaults: the vault is part of what is signed."""
    with world.store.write() as session:
        row = session.get_one(tables.Snapshot, world.vault)
        row.manifest = row.manifest.replace(world.vault.encode(), b"a" * 26)
        row.signature = world.owner.root.sign(b"PRA1/snapshot" + row.manifest)
        session.add(row)
    with pytest.raises(Tampered, match="belongs elsewhere"):
        world.truth()


@pytest.mark.usefixtures("before")
def test_a_snapshot_that_holds_a_removal_is_refused(world: World) -> None:
    """Nothing writes one, not even an owner's own hand: what was removed is not there."""
    seed = world.owner.root.section(world.owner.sections["results"])
    beside = pack([{"op": "remove", "id": "l", "type": "Basic", "position": 1, "writer": "owner"}])
    line = beside + struct.pack(">I", len(beside))
    box = wrap(seed.snapshot_key(), header("snapshot", world.vault, section=seed.id, epoch=1, name="0"), line)
    with world.store.write() as session:
        section = session.get_one(tables.SnapshotSection, (world.vault, seed.id, 0))
        row = session.get_one(tables.Snapshot, world.vault)
        old, new = (hashlib.sha256(one).hexdigest().encode() for one in (section.box, box))
        section.box, row.manifest = box, row.manifest.replace(old, new)
        row.signature = world.owner.root.sign(b"PRA1/snapshot" + row.manifest)
        session.add_all([section, row])
    with pytest.raises(Tampered, match="holds a removal"):
        world.truth()


@pytest.mark.usefixtures("before")
def test_what_was_removed_is_in_no_snapshot(world: World) -> None:
    put = world.put("Observation/1")
    world.append("results", Remove(local=put.local, resource_type="Observation"))
    world.open()
    assert put.local not in world.truth().state.sections["results"]


@weakens("aggregator.vault.snapshot", "UNSORTED", "problems")
@weakens("aggregator.vault.snapshot", "UNSORTED", "mental-health")
def test_what_a_resource_was_before_it_moved_lies_where_no_grant_opens_it(world: World) -> None:
    """A diagnosis that was corrected: the mistake opens to readers neither of its section nor of the new one."""
    writer, mistake = world.connect().writer, world.put("Condition/1", {"note": "KANARIE"})
    world.append("mental-health", mistake, writer=writer)
    world.append("mental-health", Remove(local=mistake.local, resource_type="Condition"), writer=writer)
    world.append("problems", world.put("Condition/1", version=2), writer=writer)
    told = world.truth().state
    world.open()
    again = world.truth().state
    assert again.moved == told.moved
    assert [len(versions) for versions in again.histories() if versions[-1].operation.local == mistake.local] == [2]
    holding = {name for name, texts in _texts(world).items() if any(b"KANARIE" in text for text in texts)}
    assert holding == {"unsorted"}


def _texts(world: World) -> dict[str, list[bytes]]:
    """What each section's key opens of the snapshot."""
    names = {id_: name for name, id_ in world.owner.sections.items()}
    found: dict[str, list[bytes]] = {}
    with world.store.read() as session:
        for row in session.exec(select(tables.SnapshotSection).where(tables.SnapshotSection.vault == world.vault)):
            name = names[row.section]
            text = snapshot._unwrapped(world.vault, world.owner.seed(name, 1), row.part, row.box)
            found.setdefault(name, []).append(text)
    return found


@pytest.mark.attack(24)
@pytest.mark.usefixtures("before")
@weakens("aggregator.vault.counter", "_compare", lambda *_: None)
def test_an_older_snapshot_put_back_is_found_with_its_head_and_without(world: World) -> None:
    """Without the vault's row nothing fits; with it all of it is right, but the key service remembers a later one."""
    kept = _rows(world)
    world.append("results", world.put("Observation/3"))
    world.open()
    _restore(world, kept, parts=("snapshot", "snapshot_section"))
    with pytest.raises(Tampered):
        world.truth()
    _restore(world, kept, parts=("vault",))
    with pytest.raises(RolledBack):
        world.truth()


@pytest.mark.attack(21, 24)
@weakens("aggregator.vault.snapshot", "_sha256", lambda _: EqualToAll(), about=(24,))
def test_one_section_rolled_back_is_found(world: World, before: State) -> None:
    """Its older row is sealed under the same key for the same place: what finds it is the hash in the manifest."""
    kept = _rows(world)
    world.append("results", world.put("Observation/3"))
    world.open()
    assert world.truth().state != before
    _restore(world, kept, parts=("snapshot_section",))
    with pytest.raises(Tampered, match="not the one its manifest names"):
        world.truth()


def _rows(world: World) -> dict[str, list[tuple[object, ...]]]:
    names = ("snapshot", "snapshot_section", "vault")
    with world.store.read() as session:
        return {
            name: [tuple(row) for row in session.connection().exec_driver_sql(f"SELECT * FROM {name}")]
            for name in names
        }


def _restore(world: World, kept: dict[str, list[tuple[object, ...]]], parts: tuple[str, ...]) -> None:
    for name in parts:
        world.sql(f"DELETE FROM {name}")
        for row in kept[name]:
            world.sql(f"INSERT INTO {name} VALUES ({', '.join('?' * len(row))})", *row)
