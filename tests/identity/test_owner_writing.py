"""What an owner writes: whose it is, where it lies, and that it comes whole or not at all, whoever writes meanwhile."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import Session, select

from aggregator.errors import Changed, Stale
from aggregator.fhir.outcome import Conflict, Gone, NotFound
from aggregator.identity import owner_writing
from aggregator.identity.owner_changes import Change, Written, amendment, new_local
from aggregator.identity.owner_writing import OwnerWriting
from aggregator.vault import blob, tables
from aggregator.vault.envelope import Delete, Put
from aggregator.vault.fold import Version
from aggregator.vault.keys import OWNER
from fhir_profiles.check import check
from fhir_profiles.codes import CONFIDENTIALITY
from fhir_profiles.profiles import AMENDS_URL, SECTION_SYSTEM
from fhir_profiles.text import Resource, loads
from tests.vault.world import TABLE, World
from tests.weaken import weakens

OBSERVATION: Resource = loads(
    '{"resourceType":"Observation","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"2160-0"}]},'
    '"valueQuantity":{"value":0.40,"unit":"mg/dl"}}'
)
LONG = base64.b64encode(bytes(range(256)) * 100).decode()


def writing(world: World) -> OwnerWriting:
    return OwnerWriting(world.store, world.blobs, TABLE, world.clock)


def written(_session: Session, _position: int) -> bool:
    return True


def write(world: World, *changes: Change, judged_at: int | None = None) -> list[Written]:
    return writing(world).write(world.owner, changes, written, judged_at)


def created(resource: Resource) -> Change:
    return Change(resource_type=resource["resourceType"], local=new_local(), edit=lambda _: dict(resource), new=True)


def updated(one: Written, resource: Resource, if_match: int | None = None) -> Change:
    kind = resource["resourceType"]
    return Change(resource_type=kind, local=one.local, edit=lambda _: dict(resource), if_match=if_match)


def ended(resource_type: str, local: str) -> Change:
    return Change(resource_type=resource_type, local=local, edit=None)


def versions(world: World, local: str) -> dict[str, list[Version]]:
    """Section -> versions."""
    sections = world.truth().state.sections
    return {name: held[local] for name, held in sections.items() if local in held}


def newest(world: World, local: str) -> tuple[str, Version]:
    ((section, held),) = versions(world, local).items()
    return section, held[-1]


def position(world: World) -> int:
    with world.store.read() as session:
        return session.get_one(tables.Vault, world.vault).log_position


def state(world: World) -> list[tuple[str, list[Version]]]:
    return sorted(world.truth().state.newest(), key=lambda found: found[1][0].operation.local)


def body(one: Written) -> Resource:
    made: Resource = loads(one.body or b"{}")
    return made


def test_what_is_written_is_the_owners_and_as_it_was_sent(world: World) -> None:
    (one,) = write(world, created(OBSERVATION | {"id": "mine", "meta": {"versionId": "7", "tag": [{"code": "t"}]}}))
    section, version = newest(world, one.local)
    assert (section, version.writer, version.operation.version, one.created) == ("results", OWNER, 1, True)
    assert isinstance(version.operation, Put)
    assert version.operation.resource == one.body
    told = body(one)
    assert told["id"] == f"{world.vault}.{one.local}"
    assert told["meta"] == {"versionId": "1", "lastUpdated": one.updated, "tag": [{"code": "t"}]}
    assert b'"value":0.40' in (one.body or b"")
    assert check(told) == ()


def test_a_resource_has_versions_an_end_and_a_return(world: World) -> None:
    (first,) = write(world, created(OBSERVATION))
    (second,) = write(world, updated(first, OBSERVATION | {"status": "amended"}, if_match=1))
    (third,) = write(world, ended("Observation", first.local))
    (again,) = write(world, ended("Observation", first.local))
    (back,) = write(world, updated(first, OBSERVATION))
    assert [one.version for one in (first, second, third, again, back)] == [1, 2, 3, 3, 4]
    assert [one.created for one in (first, second, third, again, back)] == [True, False, False, False, True]
    ((_, held),) = versions(world, first.local).items()
    assert [type(one.operation) for one in held] == [Put, Put, Delete, Put]
    assert [one.operation.version for one in held] == [1, 2, 3, 4]


@pytest.mark.parametrize("case", ["never", "another type"])
def test_what_is_not_there_is_not_changed(world: World, case: str) -> None:
    (one,) = write(world, created(OBSERVATION))
    local = one.local if case == "another type" else new_local()
    for change in (ended("Condition", local), Change(resource_type="Condition", local=local, edit=lambda _: {})):
        with pytest.raises(NotFound):
            write(world, change)


def test_the_version_that_was_read_is_compared_in_the_commit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    (one,) = write(world, created(OBSERVATION))
    with pytest.raises(Changed):
        write(world, updated(one, OBSERVATION, if_match=2))
    between(monkeypatch, lambda: write(world, updated(one, OBSERVATION | {"status": "amended"}, if_match=1)))
    with pytest.raises(Changed):
        write(world, updated(one, OBSERVATION, if_match=1))
    assert newest(world, one.local)[1].operation.version == 2


# --- where it lies


def labelled(resource: Resource, code: str, system: str = SECTION_SYSTEM) -> Resource:
    return resource | {"meta": {"security": [{"system": system, "code": code}]}}


def test_a_label_raises_a_section_and_never_lowers_it(world: World) -> None:
    sensitive = OBSERVATION | {"code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10", "code": "F32.1"}]}}
    raised, lowered, harmless = write(
        world,
        created(labelled(OBSERVATION, "mental-health")),
        created(labelled(sensitive, "results")),
        created(labelled(sensitive, "N", CONFIDENTIALITY)),
    )
    assert [newest(world, one.local)[0] for one in (raised, lowered, harmless)] == ["mental-health"] * 3


def test_who_moves_to_another_section_leaves_nothing_in_the_old_one(world: World) -> None:
    (one,) = write(world, created(OBSERVATION))
    (moved,) = write(world, updated(one, labelled(OBSERVATION, "mental-health")))
    assert moved.version == 2
    ((section, held),) = versions(world, one.local).items()
    assert (section, [version.operation.version for version in held]) == ("mental-health", [2])


def test_a_binary_lies_where_the_resource_lies_that_it_belongs_to(world: World) -> None:
    local = new_local()
    binary = {
        "resourceType": "Binary",
        "contentType": "text/plain",
        "securityContext": {"reference": f"Observation/{world.vault}.{local}"},
        "data": "eA==",
    }
    observation = Change(resource_type="Observation", local=local, edit=lambda _: dict(OBSERVATION), new=True)
    first, _ = write(world, created(binary), observation)
    (later,) = write(world, created(binary))
    (alone,) = write(world, created({**binary, "securityContext": {"reference": f"Observation/{world.vault}.none"}}))
    assert [newest(world, one.local)[0] for one in (first, later, alone)] == ["results", "results", "unsorted"]


def test_what_is_long_lies_outside_and_is_as_it_was(world: World) -> None:
    (one,) = write(world, created({"resourceType": "Binary", "contentType": "text/plain", "data": LONG}))
    put = newest(world, one.local)[1].operation
    assert isinstance(put, Put)
    assert put.blob is not None
    assert b"data" not in put.resource
    assert b"".join(blob.read(world.blobs, world.vault, put.blob)) == base64.b64decode(LONG)
    with world.store.read() as session:
        assert [row.position for row in session.exec(select(tables.BlobRow))] == [position(world)]


def document(*contents: Resource) -> Resource:
    made = [{"attachment": {"contentType": "text/plain", **one}} for one in contents]
    return {"resourceType": "DocumentReference", "status": "current", "content": made}


def test_attachments_go_and_stay_with_what_they_were_taken_out_of(world: World) -> None:
    (one,) = write(world, created(document({"data": LONG}, {"data": LONG})))
    first, second = (content["attachment"]["url"].partition(".")[2] for content in body(one)["content"])
    kept = {"url": f"Binary/{world.vault}.{second}"}
    (next_one,) = write(world, updated(one, document(kept, {"data": LONG})))
    third = body(next_one)["content"][1]["attachment"]["url"].partition(".")[2]
    kinds = [type(newest(world, local)[1].operation) for local in (first, second, third)]
    assert kinds == [Delete, Put, Put]
    write(world, updated(one, labelled(body(next_one), "mental-health")))
    assert {newest(world, local)[0] for local in (one.local, second, third)} == {"mental-health"}
    moved = newest(world, second)[1].operation
    assert isinstance(moved, Put)
    assert moved.blob is not None
    write(world, ended("DocumentReference", one.local))
    assert {type(newest(world, local)[1].operation) for local in (one.local, second, third)} == {Delete}


# --- a source's resource


def synced(world: World) -> tuple[str, Any]:
    """One Observation of the clinic's: its local id, and the writer that wrote it."""
    mandate = world.connect()
    world.append("results", world.put("Observation/1", OBSERVATION), writer=mandate.writer)
    return world.local("Observation/1"), mandate.writer


def over(local: str, resource: Resource, if_match: int | None = None) -> Change:
    return Change(resource_type="Observation", local=local, edit=lambda _: dict(resource), if_match=if_match)


@weakens(
    "aggregator.identity.owner_changes.Changes",
    "_amend",
    lambda self, change, theirs: (
        self._put(change, change.local, change.edit(None), self.present[change.local][1])
        if change.edit
        else self._end(change, self.present[change.local][0], theirs)
    ),
)
def test_an_amendment_stands_beside_and_no_later_sync_touches_it(world: World) -> None:
    local, clinic = synced(world)
    before = newest(world, local)
    (one,) = write(world, over(local, OBSERVATION | {"status": "amended"}, if_match=1))
    assert (one.local, one.created, one.amends) == (amendment(world.owner, local), True, local)
    assert newest(world, local) == before
    named = {"url": AMENDS_URL, "valueReference": {"reference": f"Observation/{world.vault}.{local}"}}
    assert body(one)["meta"]["extension"] == [named]
    assert check(body(one)) == ()
    world.append("results", world.put("Observation/1", OBSERVATION, version=2), writer=clinic)
    truth = world.truth()
    assert truth.refused == {}
    assert newest(world, local)[1].operation.version == 2
    assert newest(world, one.local)[1].operation.resource == one.body  # type: ignore[union-attr]


def test_there_is_one_amendment_and_a_second_change_goes_on_from_it(world: World) -> None:
    local, _ = synced(world)
    seen = list[Resource]()

    def edit(present: Resource | None) -> Resource:
        seen.append(dict(present or {}))
        return {**(present or {}), "status": "amended"}

    change = Change(resource_type="Observation", local=local, edit=edit)
    (first,), (second,) = write(world, change), write(world, change)
    assert [one["status"] for one in seen] == ["final", "amended"]
    assert (first.local, first.version, first.created) == (second.local, 1, True)
    assert (second.version, second.created) == (2, False)
    (own,) = write(world, Change(resource_type="Observation", local=first.local, edit=lambda _: dict(OBSERVATION)))
    assert body(own)["meta"]["extension"] == body(first)["meta"]["extension"]


def test_whose_a_resource_is_and_what_it_amends_is_not_the_clients_to_say(world: World) -> None:
    said = [{"url": AMENDS_URL, "valueReference": {"reference": "Observation/x"}}, {"url": "http://e.example/own"}]
    meta = {"source": "urn:aggregator:source:klinik", "extension": said}
    (one,) = write(world, created(OBSERVATION | {"meta": meta}))
    assert body(one)["meta"] == {"extension": said[1:], "versionId": "1", "lastUpdated": one.updated}


def test_what_a_source_wrote_is_not_deleted_here(world: World) -> None:
    local, clinic = synced(world)
    with pytest.raises(Conflict, match="ask there"):
        write(world, ended("Observation", local))
    gone = Delete(local=local, resource_type="Observation", version=2, updated="2026-11-21T20:30:00.000Z")
    world.append("results", gone, writer=clinic)
    with pytest.raises(Gone):
        write(world, over(local, OBSERVATION))


# --- whoever writes meanwhile


def between(monkeypatch: pytest.MonkeyPatch, *others: Any) -> None:
    """Between a write's look and its commit somebody else commits: one of these each time."""
    waiting, commit = list(others), owner_writing._present

    def look(*args: Any) -> Any:
        found = commit(*args)
        if waiting:
            waiting.pop(0)()
        return found

    monkeypatch.setattr(owner_writing, "_present", look)


@pytest.mark.parametrize("times", [1, 2])
def test_a_sync_in_between_makes_no_write_fail(world: World, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    (one,) = write(world, created(OBSERVATION))
    _, clinic = synced(world)

    def sync() -> None:
        world.append("results", world.put(f"Observation/{position(world)}", OBSERVATION), writer=clinic)

    between(monkeypatch, *[sync] * times)
    (two,) = write(world, updated(one, OBSERVATION | {"status": "amended"}, if_match=1))
    assert (two.version, newest(world, one.local)[1].operation.version) == (2, 2)
    assert world.truth().refused == {}


def test_who_never_gets_a_turn_writes_while_nobody_else_does(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    (one,) = write(world, created(OBSERVATION))
    turns = list[int]()

    def sync() -> None:
        turns.append(1)
        world.append("results", world.put(f"Observation/{len(turns)}", OBSERVATION))

    between(monkeypatch, *[sync] * owner_writing._TRIES)
    assert write(world, updated(one, OBSERVATION, if_match=1))[0].version == 2
    assert len(turns) == owner_writing._TRIES


def test_conditions_count_for_the_record_in_which_they_were_judged(world: World) -> None:
    at = position(world)
    write(world, created(OBSERVATION), judged_at=at)
    with pytest.raises(Stale):
        write(world, created(OBSERVATION), judged_at=at)


# --- whole or not at all


class Killed(BaseException):
    """The process ends here."""


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["create", "update", "end"]), min_size=1, max_size=4), st.integers(0, 4))
def test_a_write_that_fails_anywhere_leaves_nothing(world: World, kinds: Sequence[str], at: int) -> None:
    held = write(world, *[created(OBSERVATION) for _ in range(4)])
    before, there = state(world), position(world)
    made = {
        "create": lambda _: created(OBSERVATION),
        "update": lambda one: updated(one, labelled(OBSERVATION, "mental-health")),
        "end": lambda one: ended("Observation", one.local),
    }
    changes = [made[kind](one) for kind, one in zip(kinds, held, strict=False)]
    if at < len(changes):
        changes[at] = Change(resource_type="Observation", local=new_local(), edit=None)
        with pytest.raises(NotFound):
            write(world, *changes)
    else:

        def killed(_session: Session, _position: int) -> bool:
            raise Killed

        with pytest.raises(Killed):
            writing(world).write(world.owner, changes, killed)
    assert (state(world), position(world)) == (before, there)


def test_no_receipt_no_write(world: World) -> None:
    before = position(world)
    with pytest.raises(Stale):
        writing(world).write(world.owner, [created(OBSERVATION)], lambda _session, _position: False)
    assert position(world) == before
