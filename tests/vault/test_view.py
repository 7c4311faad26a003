"""What a caller's view holds, and when an image at rest is taken or built anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlmodel import select

from aggregator.fhir import provenance
from aggregator.vault import tables, view
from aggregator.vault.envelope import Delete, Remove
from aggregator.vault.image import Image, Tombstone
from aggregator.vault.index_rows import Frame
from aggregator.vault.view import View
from fhir_profiles import codes
from fhir_profiles.profiles import SECTION_SYSTEM
from fhir_profiles.text import Resource, dumps, loads
from tests.vault.world import DR_B, INDEX, LABORATORY, TABLE, World
from tests.weaken import weakens
from tests.weakened import any_header

RESULTS = {"class": [{"system": SECTION_SYSTEM, "code": "results"}]}
DEPRESSION = {"code": {"coding": [{"system": codes.ICD_10_GM, "code": "F32.1"}]}}


def held(made: View) -> set[str]:
    """Type and local id of everything in a view."""
    records = made.image.fetch(range(1, made.image.count() + 1))
    return {f"{record.resource_type}/{record.local}" for record in records}


def body(made: View, source_id: str, world: World) -> Resource:
    kind = source_id.partition("/")[0]
    record = made.image.read(kind, world.local(source_id))
    assert record is not None
    resource: Resource = loads(record.body)
    return resource


def ids(world: World, *source_ids: str) -> set[str]:
    own = f"Patient/{world.owner.patient}"
    return {own, *(f"{name.partition('/')[0]}/{world.local(name)}" for name in source_ids)}


@pytest.fixture
def record(world: World) -> World:
    """Results with a performer and that one's organizations, two diagnoses, and one in the directory nobody names."""
    world.append(
        "results",
        world.put(
            "Observation/1",
            {
                "subject": {"reference": world.patient},
                "performer": [world.reference("PractitionerRole/1")],
                "derivedFrom": [world.reference("Observation/2")],
                "focus": [world.reference("Condition/1")],
                "valueQuantity": {"value": 0},
            },
        ),
        world.put("Observation/2"),
    )
    world.append("problems", world.put("Condition/1", {"onsetDateTime": "2019"}))
    world.append("mental-health", world.put("Condition/2", DEPRESSION))
    world.append(
        "directory",
        world.put("PractitionerRole/1", {"organization": world.reference("Organization/1")}),
        world.put("Organization/1", {"partOf": world.reference("Organization/2")}),
        world.put("Organization/2", {"name": "Verbund"}),
        world.put("Organization/3", {"name": "Fachklinik für Psychiatrie"}),
    )
    return world


def test_the_owner_sees_all(record: World) -> None:
    everything = ["Observation/1", "Observation/2", "Condition/1", "Condition/2", "PractitionerRole/1"]
    assert held(record.open()) == ids(record, *everything, "Organization/1", "Organization/2", "Organization/3")


def test_a_grantee_sees_what_is_permitted_and_of_the_directory_what_it_refers_to(record: World) -> None:
    record.permit(**RESULTS)
    made = record.open(record.grantee())
    assert held(made) == ids(
        record, "Observation/1", "Observation/2", "PractitionerRole/1", "Organization/1", "Organization/2"
    )
    assert made.image.sections() == {"identity": 1, "results": 2, "directory": 3}


@pytest.mark.attack(15)
def test_what_is_hidden_is_masked_and_what_is_shown_is_not(record: World) -> None:
    record.permit(**RESULTS)
    shown = body(record.open(record.grantee()), "Observation/1", record)
    assert shown["subject"] == {"reference": record.patient}
    assert shown["performer"] == [record.reference("PractitionerRole/1")]
    assert shown["derivedFrom"] == [record.reference("Observation/2")]
    assert list(shown["focus"][0]) == ["extension"]
    assert shown["meta"]["security"][0]["code"] == "REDACTED"


def test_the_patient_is_a_bare_id_unless_identity_is_open(record: World) -> None:
    record.permit(**RESULTS)
    bare = record.open(record.grantee()).image.read("Patient", record.owner.patient)
    assert bare is not None
    assert bare.body == dumps({"resourceType": "Patient", "id": f"{record.vault}.{record.owner.patient}"})
    record.permit(DR_B)
    whole = record.open(record.grantee()).image.read("Patient", record.owner.patient)
    assert whole is not None
    assert loads(whole.body)["name"][0]["family"] == "Beispielmann"


@pytest.mark.attack(19)
def test_a_permit_for_everything_opens_no_sensitive_section(record: World) -> None:
    record.permit(DR_B)
    assert f"Condition/{record.local('Condition/2')}" not in held(record.open(record.grantee()))
    assert "mental-health" not in record.opened().seeds


def test_two_locks_the_decision_holds_where_a_seed_is_at_hand(record: World) -> None:
    """The diagnosis lies, wrongly, in a section whose seed the grant carries: today's table still claims it."""
    record.append("problems", record.put("Condition/3", DEPRESSION))
    record.permit(DR_B)
    seen = held(record.open(record.grantee()))
    assert f"Condition/{record.local('Condition/1')}" in seen
    assert f"Condition/{record.local('Condition/3')}" not in seen


def test_two_locks_no_seed_no_resource_whatever_the_decision(record: World) -> None:
    record.permit(**RESULTS)
    reader = replace(record.grantee(), permits=lambda _section, _resource: True)
    assert f"Condition/{record.local('Condition/1')}" not in held(record.open(reader))


def test_each_grantee_has_a_view_of_its_own(record: World) -> None:
    record.permit(DR_B)
    record.permit(LABORATORY, **RESULTS)
    everything = held(record.open(record.grantee(DR_B)))
    results = held(record.open(record.grantee(LABORATORY)))
    assert results < everything


def test_a_deleted_resource_is_a_tombstone_for_the_owner_alone(record: World) -> None:
    put = record.put("Observation/2")
    record.append("results", Delete(local=put.local, resource_type="", version=2, updated=put.updated))
    tombstone = Tombstone(resource_type="Observation", local=put.local, version=2, updated=1_795_293_000_000)
    assert record.open().image.gone("Observation", put.local) == tombstone
    record.permit(DR_B)
    assert record.open(record.grantee()).image.gone("Observation", put.local) is None


def test_a_removed_resource_leaves_no_tombstone(record: World) -> None:
    put = record.put("Observation/2")
    record.append("results", Remove(local=put.local, resource_type="Observation"))
    made = record.open()
    assert made.image.read("Observation", put.local) is None
    assert made.image.gone("Observation", put.local) is None


# Images at rest.


class Counting:
    """The real index, counting what it was asked: nothing, when an image was reused."""

    def __init__(self, version: int = INDEX.version) -> None:
        self.version, self.asked = version, 0

    def frame(self, vault: str) -> Frame:
        return INDEX.frame(vault)

    def rows(self, resource_type: str, resource: Resource) -> object:
        self.asked += 1
        return INDEX.rows(resource_type, resource)


def built(world: World, reader: view.Reader, index: Counting | None = None) -> bool:
    """Was the image built for this opening?"""
    index = index or Counting()
    view.open_view(world.store, world.vault, reader, index, None).close()  # type: ignore[arg-type] - rows is the real one
    return index.asked > 0


def test_an_image_that_is_still_right_is_taken(record: World) -> None:
    record.permit(DR_B)
    for reader in (record.reader(), record.grantee()):
        assert [built(record, reader) for _ in range(3)] == [True, False, False]


MOVED: dict[str, Callable[[World], object]] = {
    "log position": lambda world: world.append("results", world.put("Observation/9")),
    "grant version": lambda world: world.permit(LABORATORY),
    "a period's end": lambda world: world.clock.advance(days=40),
}


@pytest.mark.parametrize("case", MOVED)
@pytest.mark.attack(17, 18)
def test_an_image_is_built_anew_when_what_it_depends_on_moves(record: World, case: str) -> None:
    record.permit(DR_B, period={"start": "2026-01-01", "end": "2026-12-24"})
    record.permit(DR_B, **RESULTS)
    assert built(record, record.grantee())
    assert not built(record, record.grantee())
    MOVED[case](record)
    record.owner = replace(record.owner, unlocked_at=record.clock())
    assert built(record, record.grantee())
    assert not built(record, record.grantee())


def test_an_image_is_built_anew_for_another_section_table(record: World) -> None:
    record.permit(DR_B)
    opened = record.opened()
    newer = replace(TABLE, version=TABLE.version + 1)
    readers = [opened.reader(DR_B, "TREAT", record.clock(), table) for table in (TABLE, newer)]
    assert [built(record, reader) for reader in (*readers, readers[1])] == [True, True, False]


def test_an_image_is_built_anew_for_another_index_version(record: World) -> None:
    assert built(record, record.reader())
    assert built(record, record.reader(), Counting(INDEX.version + 1))
    assert not built(record, record.reader(), Counting(INDEX.version + 1))


DAMAGE = {
    "changed": "CAST(substr(box, 1, length(box) - 1) || x'00' AS BLOB)",
    "cut off": "substr(box, 1, 40)",
    "empty": "x''",
    "another reader's": "(SELECT box FROM image WHERE reader <> 'owner')",
}


@pytest.mark.parametrize("case", DAMAGE)
@pytest.mark.attack(21)
def test_a_damaged_image_is_a_cache_that_is_not_there(record: World, case: str) -> None:
    record.permit(DR_B, **RESULTS)
    expected = held(record.open())
    record.open(record.grantee())
    record.sql(f"UPDATE image SET box = {DAMAGE[case]} WHERE reader = 'owner'")
    assert built(record, record.reader())
    assert held(record.open()) == expected


@pytest.mark.attack(21)
@weakens("aggregator.vault.seal", "_split", any_header)
def test_an_older_image_put_in_a_newer_ones_place_is_not_taken(record: World) -> None:
    """Its header names what it was built for."""
    record.open()
    with record.store.read() as session:
        (older,) = session.exec(select(tables.ImageRow.box)).all()
    record.append("results", record.put("Observation/9"))
    expected = held(record.open())
    record.sql("UPDATE image SET box = ?", older)
    assert built(record, record.reader())
    assert held(record.open()) == expected


@pytest.mark.attack(21)
@weakens("aggregator.vault.seal", "_split", any_header)
def test_an_image_for_another_purpose_is_not_taken(record: World) -> None:
    """One grant has one image key: what binds its images to their purposes is the header."""
    record.permit(DR_B, purpose=[{"system": codes.ACT_REASON, "code": "TREAT"}])
    opened = record.opened()
    treat, payment = (opened.reader(DR_B, purpose, record.clock(), TABLE) for purpose in ("TREAT", "HPAYMT"))
    expected = held(record.open(payment))
    assert expected < held(record.open(treat))
    record.sql("UPDATE image SET box = (SELECT box FROM image WHERE reader = ?) WHERE reader = ?", treat.id, payment.id)
    assert held(record.open(payment)) == expected


def test_an_image_of_another_format_is_built_anew(record: World) -> None:
    reader = record.reader()
    record.open()
    with record.store.write() as session:
        (row,) = session.exec(select(tables.ImageRow)).all()
        head = view.header("image", record.vault, name="owner", writer=row.built_for)
        row.box = view.wrap(reader.image_key, head, b"PRI9 and something else")
        session.add(row)
    assert built(record, reader)


@pytest.mark.attack(20)
def test_an_images_row_tells_nothing_of_periods(record: World) -> None:
    record.permit(DR_B, period={"start": "2026-01-01", "end": "2026-12-24"})
    reader = record.grantee()
    record.open(reader)
    assert "2026-12-2" in reader.depends
    with record.store.read() as session:
        told = session.exec(select(tables.ImageRow.built_for).where(tables.ImageRow.reader == reader.id)).one()
    assert told.startswith(f"{record.open(reader).log_position}.1/{INDEX.version}/")
    assert "2026" not in told


def test_a_grantees_images_go_with_its_grant(record: World) -> None:
    record.permit(DR_B)
    record.open(record.grantee())
    record.grants.end(record.owner, DR_B.id)
    with record.store.read() as session:
        assert session.exec(select(tables.ImageRow.reader).where(tables.ImageRow.reader != "owner")).all() == []


def test_a_view_says_what_it_was_opened_at(record: World) -> None:
    record.permit(DR_B)
    made = record.open(record.grantee())
    with record.store.read() as session:
        row = session.get_one(tables.Vault, record.vault)
    assert (made.vault, made.log_position, made.grant_version) == (row.id, row.log_position, row.grant_version)
    made.close()
    assert isinstance(made.image, Image)


def test_the_truth_can_be_read_with_its_history(record: World) -> None:
    record.append("results", record.put("Observation/2", {"status": "amended"}, version=2))
    state = view.read_truth(record.store, record.vault, record.reader())
    versions = state.sections["results"][record.local("Observation/2")]
    assert [version.operation.version for version in versions] == [1, 2]


@weakens("aggregator.vault.truth", "appointed", lambda *_: "as ever")
def test_a_mended_certificate_lets_in_what_was_refused_without_it(world: World) -> None:
    """An image that was made meanwhile is not right any more, however quiet the log is."""
    clinic = world.connect()
    world.append("results", world.put("Observation/1"), writer=clinic.writer)
    with world.store.read() as session:
        signature = session.exec(select(tables.Mandate.signature)).one()
    world.sql("UPDATE mandate SET signature = ?", bytes(64))
    assert world.open().image.count("Observation") == 0
    world.sql("UPDATE mandate SET signature = ?", signature)
    assert world.open().image.count("Observation") == 1


def test_a_writer_that_does_not_say_whence_closes_no_provenance(world: World) -> None:
    clinic = world.connect()
    untold = replace(world.put("Observation/1"), origin={"hash": "sha-256-64;00"})
    world.append("results", untold, writer=clinic.writer)
    made = list(provenance.records(world.vault, world.truth().state))
    assert [b"unknown" in one.body for one in made if one.local == untold.local] == [True]
