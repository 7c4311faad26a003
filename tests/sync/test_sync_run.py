"""One run of one connection: what it stores, versions, ends, sets aside and counts."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from aggregator.errors import CallerError, OperatorError
from aggregator.fhir.outcome import Gone, NotFound
from aggregator.fhir.read import read
from aggregator.sync.run import Outcome, run
from aggregator.vault.envelope import Put
from connectors.contract import Reason
from fhir_profiles.text import Number
from tests.sync.sync_world import (
    Scripted,
    SyncWorld,
    batch,
    condition,
    deleted,
    found,
    observation,
    patient,
    skipped,
    worker,
)


def counted(outcome: Outcome) -> tuple[int, int, int, int, int, str]:
    """(found, stored, unchanged, quarantined, deleted, status)"""
    made = outcome
    return made.found, made.stored, made.unchanged, made.quarantined, made.deleted, made.status


def readings(syncing: SyncWorld, resource_type: str, source_id: str) -> str:
    """How a read of this thing ends in the owner's view."""
    whole = f"{syncing.world.vault}.{syncing.local(source_id)}"
    try:
        return str(read(syncing.world.open(), resource_type, whole).version)
    except Gone:
        return "gone"
    except NotFound:
        return "not found"


def test_a_first_run_stores_and_a_second_finds_nothing_new(syncing: SyncWorld) -> None:
    syncing.clinic.says([batch(patient(), observation("o1"), observation("o2"), cursor="1")])
    connection = syncing.connect()
    assert counted(syncing.run(connection)) == (3, 3, 0, 0, 0, "fresh")
    before = syncing.record()
    assert counted(syncing.run(connection)) == (3, 0, 3, 0, 0, "fresh")
    assert syncing.record() == before
    assert syncing.clinic.cursors == [None, "1"]


def test_a_changed_resource_becomes_its_next_version(syncing: SyncWorld) -> None:
    syncing.clinic.says([batch(patient(), observation(value=7))], [batch(observation(value=Number("7.10")))])
    connection = syncing.connect()
    syncing.run(connection)
    syncing.clock.advance(hours=1)
    assert counted(syncing.run(connection)) == (2, 1, 1, 0, 0, "fresh")
    stored = syncing.resource("Observation/o1")
    assert stored["meta"]["versionId"] == "2"
    assert stored["meta"]["lastUpdated"].startswith("2026-11-21T")
    assert stored["valueQuantity"]["value"] == Number("7.10")
    assert syncing.versions("Observation/o1") == {"results": ["1", "2"]}


def test_what_the_source_deleted_leaves_a_tombstone(syncing: SyncWorld) -> None:
    syncing.clinic.says(
        [batch(patient(), observation())], [batch(deleted("Observation/o1"), deleted("Observation/o9"))]
    )
    connection = syncing.connect()
    syncing.run(connection)
    assert counted(syncing.run(connection)) == (2, 0, 2, 0, 1, "fresh")
    assert syncing.versions("Observation/o1") == {"results": ["1", "2 deleted"]}
    assert readings(syncing, "Observation", "Observation/o1") == "gone"


def test_what_comes_back_after_its_deletion_is_a_new_version(syncing: SyncWorld) -> None:
    syncing.clinic.says(
        [batch(patient(), observation())], [batch(deleted("Observation/o1"))], [batch(patient(), observation())]
    )
    connection = syncing.connect()
    for _ in range(3):
        syncing.run(connection)
    assert syncing.versions("Observation/o1") == {"results": ["1", "2 deleted", "3"]}


def test_a_full_listing_ends_what_it_does_not_show(syncing: SyncWorld) -> None:
    listing = batch(patient(), listed=["Patient/p1", "Observation/o2"])
    syncing.clinic.says([batch(patient(), observation("o1"), observation("o2"))], [listing])
    connection = syncing.connect()
    syncing.run(connection)
    assert counted(syncing.run(connection)) == (3, 0, 3, 0, 1, "fresh")
    assert readings(syncing, "Observation", "Observation/o1") == "gone"
    assert readings(syncing, "Observation", "Observation/o2") == "1"


@pytest.mark.parametrize("listed", [["Patient/p2", "Observation/o9"], []], ids=["a stranger's", "an empty one"])
def test_a_listing_without_this_person_ends_nothing(syncing: SyncWorld, listed: list[str]) -> None:
    """The account may have been given to somebody else: that says nothing about what was there before."""
    syncing.clinic.says([batch(patient(), observation())], [batch(listed=listed, cursor="2")])
    connection = syncing.connect()
    syncing.run(connection)
    assert counted(syncing.run(connection)) == (2, 0, 2, 0, 0, "fresh")


def test_a_listing_clears_what_stood_aside_and_is_no_longer_there(syncing: SyncWorld) -> None:
    syncing.clinic.says(
        [batch(patient(), skipped("file/a"), skipped("file/b"))],
        [batch(patient(), skipped("file/b"), listed=["Patient/p1"])],
    )
    connection = syncing.connect()
    syncing.run(connection)
    assert counted(syncing.run(connection)) == (2, 0, 1, 1, 0, "fresh")
    assert syncing.aside() == {syncing.local("file/b"): "checksum"}


def test_what_changes_its_section_leaves_the_old_one_without_a_tombstone(syncing: SyncWorld) -> None:
    syncing.clinic.says(
        [batch(patient(), condition("E11.90"))], [batch(condition("F32.1"))], [batch(condition("E11.90"))]
    )
    connection = syncing.connect()
    syncing.run(connection)
    assert syncing.versions("Condition/c1") == {"problems": ["1"]}
    assert counted(syncing.run(connection)) == (2, 1, 1, 0, 0, "fresh")
    assert syncing.versions("Condition/c1") == {"mental-health": ["2"]}
    assert readings(syncing, "Condition", "Condition/c1") == "2"
    syncing.run(connection)
    assert syncing.versions("Condition/c1") == {"problems": ["3"]}


def test_an_invalid_resource_stands_aside_until_a_good_version_comes(syncing: SyncWorld) -> None:
    syncing.clinic.says([batch(patient(), observation(value="7.2"))], [batch(observation(value=Number("7.2")))])
    connection = syncing.connect()
    assert counted(syncing.run(connection)) == (2, 1, 0, 1, 0, "fresh")
    (aside,) = syncing.opened()
    assert (aside["reason"], aside["locator"], aside["detail"]) == (
        "invalid",
        "/fhir/Observation/o1",
        "Observation.valueQuantity.value: expects a JSON number, found string",
    )
    assert '"value":"7.2"' in aside["raw"]
    assert counted(syncing.run(connection)) == (2, 1, 1, 0, 0, "fresh")
    assert syncing.aside() == {}


def test_a_resource_type_that_nobody_knows_stands_aside(syncing: SyncWorld) -> None:
    syncing.clinic.says([batch(patient(), {"resourceType": "Horoscope", "id": "h1"})])
    syncing.run(syncing.connect())
    assert syncing.aside() == {syncing.local("Horoscope/h1"): "unknown-type"}


def test_a_bad_new_version_leaves_the_stored_one(syncing: SyncWorld) -> None:
    syncing.clinic.says([batch(patient(), observation(value=7))], [batch(observation(value="8"))])
    connection = syncing.connect()
    syncing.run(connection)
    assert counted(syncing.run(connection)) == (2, 0, 1, 1, 0, "fresh")
    assert syncing.resource("Observation/o1")["valueQuantity"]["value"] == 7


def test_what_stood_aside_and_was_deleted_no_longer_stands(syncing: SyncWorld) -> None:
    syncing.clinic.says([batch(patient(), observation(value="8"))], [batch(deleted("Observation/o1"))])
    connection = syncing.connect()
    syncing.run(connection)
    assert counted(syncing.run(connection)) == (1, 0, 1, 0, 0, "fresh")


def test_warnings_stay_with_the_resource(syncing: SyncWorld) -> None:
    syncing.clinic.says([batch(patient(), found(observation(), warnings=("The length of line 3 is wrong.",)))])
    syncing.run(syncing.connect())
    state = syncing.world.truth().state
    (version,) = state.sections["results"][syncing.local("Observation/o1")]
    assert isinstance(version.operation, Put)
    assert version.operation.warnings[0] == "The length of line 3 is wrong."


@pytest.mark.parametrize("at_once", [True, False], ids=["one batch", "two batches"])
def test_an_item_that_comes_twice_in_a_run_is_stored_once(syncing: SyncWorld, at_once: bool) -> None:
    twice = [batch(patient(), observation(), observation())]
    syncing.clinic.says(twice if at_once else [batch(patient(), observation()), batch(observation())])
    assert counted(syncing.run(syncing.connect())) == (2, 2, 0, 0, 0, "fresh")


@pytest.mark.parametrize("at_once", [True, False], ids=["one batch", "two batches"])
@pytest.mark.parametrize("good_last", [True, False])
def test_the_last_word_on_an_item_counts(syncing: SyncWorld, at_once: bool, good_last: bool) -> None:
    words = [observation(value="7"), observation(value=7)]
    first, second = words if good_last else reversed(words)
    syncing.clinic.says([batch(patient(), first, second)] if at_once else [batch(patient(), first), batch(second)])
    syncing.run(syncing.connect())
    assert syncing.aside() == ({} if good_last else {syncing.local("Observation/o1"): "invalid"})
    assert syncing.versions("Observation/o1") == {"results": ["1"]}


def test_what_a_connector_could_not_map_keeps_its_payload_for_the_patient(syncing: SyncWorld) -> None:
    syncing.clinic.says([batch(patient(), skipped("file/a", raw=b"\xff\x00"))])
    connection = syncing.connect()
    syncing.run(connection)
    assert syncing.opened() == [
        {
            "item": syncing.local("file/a"),
            "reason": "checksum",
            "at": "2026-11-21T20:30:00+00:00",
            "connection": connection,
            "detail": "The checksum is not the file's.",
            "locator": "/fhir/file/a",
            "raw": "data:;base64,/wA=",
        }
    ]


@pytest.mark.parametrize("reason", [Reason.OTHER_PERSON, Reason.NO_SUBJECT])
@pytest.mark.attack(57)
def test_a_payload_that_may_be_anothers_is_not_kept_though_a_connector_hands_it_over(
    syncing: SyncWorld, reason: Reason
) -> None:
    syncing.clinic.says([batch(patient(), skipped("file/a", reason))])
    syncing.run(syncing.connect())
    (aside,) = syncing.opened()
    assert (aside["reason"], aside["raw"], aside["detail"]) == (reason, None, "")


def test_reconnecting_an_account_doubles_nothing(syncing: SyncWorld) -> None:
    syncing.clinic.says([batch(patient(), observation(), cursor="1")])
    first = syncing.connect()
    syncing.run(first)
    mandate, before = syncing.row(first).mandate, syncing.record()
    second = syncing.connect()
    assert (second, syncing.row(second).mandate == mandate) == (first, False)
    assert counted(syncing.run(second)) == (2, 0, 2, 0, 0, "fresh")
    assert syncing.record() == before


def test_reconnecting_after_the_end_doubles_nothing(syncing: SyncWorld) -> None:
    syncing.clinic.says([batch(patient(), observation())])
    connection = syncing.connect()
    syncing.run(connection)
    syncing.end(connection)
    assert syncing.connect() == connection
    assert counted(syncing.run(connection)) == (2, 0, 2, 0, 0, "fresh")


def test_equal_ids_at_two_authorities_do_not_collide(syncing: SyncWorld) -> None:
    syncing.clinic.says([batch(patient(), observation(value=1))])
    syncing.other.says([batch(patient(), observation(value=2))])
    for authority in ("klinik", "praxis"):
        assert counted(syncing.run(syncing.connect(authority))) == (2, 2, 0, 0, 0, "fresh")
    told = [syncing.resource("Observation/o1", authority) for authority in ("klinik", "praxis")]
    assert [one["valueQuantity"]["value"] for one in told] == [1, 2]
    assert [one["meta"]["source"] for one in told] == ["urn:aggregator:source:klinik", "urn:aggregator:source:praxis"]


def test_a_retry_asks_from_the_beginning(syncing: SyncWorld) -> None:
    syncing.clinic.says([batch(patient(), observation(value="7"), cursor="1")], [batch(patient(), observation())])
    connection = syncing.connect()
    syncing.run(connection)
    assert counted(syncing.run(connection, again=True)) == (2, 1, 1, 0, 0, "fresh")
    assert syncing.clinic.cursors == [None, None]


def test_an_owners_retry_is_not_undone_by_the_run_that_is_under_way(syncing: SyncWorld) -> None:
    connection = syncing.connect()

    def ask() -> None:
        syncing.connections.again(syncing.world.vault, connection, syncing.world.owner.root)

    syncing.clinic.says([batch(cursor="1"), ask, batch(cursor="2")], [batch(cursor="3")])
    syncing.run(connection)
    assert (syncing.row(connection).state, syncing.row(connection).next_at) == (None, 0.0)
    syncing.run(connection)
    assert syncing.clinic.cursors == [None, None]


def test_a_source_that_is_no_longer_configured_breaks_its_own_connection_alone(syncing: SyncWorld) -> None:
    connection = syncing.connect()
    syncing.worker = worker(syncing.world, Scripted(syncing.other.source("praxis")))
    outcome = syncing.run(connection)
    assert (outcome.status, outcome.error) == ("broken", "there is no source of that name in the settings")
    assert syncing.row(connection).lease == ""


def test_a_connection_takes_no_settings_but_the_accounts(syncing: SyncWorld) -> None:
    signer = syncing.world.signing.signer(syncing.fresh())
    with pytest.raises(OperatorError, match=r"^there is no source of that name in the settings$"):
        syncing.connections.connect(signer, "charite", {"account": "erika"})


def test_another_vaults_connection_is_not_ended(syncing: SyncWorld) -> None:
    connection = syncing.connect()
    for vault, name in (("another", connection), (syncing.world.vault, "never-was")):
        with pytest.raises(CallerError, match="there is no such connection"):
            syncing.connections.end(vault, name, syncing.world.owner.root)
    assert not syncing.row(connection).ended


def test_progress_tells_how_far_it_is(syncing: SyncWorld) -> None:
    seen: list[tuple[int, int | None]] = []
    syncing.clinic.says([batch(patient(), observation()), replace(batch(observation("o2")), total=3)])
    asyncio.run(run(syncing.worker, syncing.connect(), lambda done, total: seen.append((done, total))))
    assert seen == [(2, None), (3, 3)]
