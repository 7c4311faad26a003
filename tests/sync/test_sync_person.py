"""Whose it is: another person's Patient, resource or account is refused, and nothing of it stays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aggregator.consent.mandate import Person
from aggregator.identity import patient as owner_patient
from connectors.contract import Found
from fhir_profiles import codes
from fhir_profiles.text import Resource
from tests.sync.sync_world import SyncWorld, batch, condition, observation, patient
from tests.vault.world import ERIKA
from tests.weaken import weakens

MAX = Person(family="Geheimnisvoll", given="Maximilian", birth_date="1961-02-28", kvnr="M987654326")
CANARIES = (b"Geheimnisvoll", b"Maximilian", b"1961-02-28", b"M987654326", b"zittert", b"o-zittert-1")


def secret_observation(**elements: object) -> Resource:
    note: Resource = {"note": [{"text": "Herr Geheimnisvoll zittert"}]}
    return observation("o-zittert-1", patient="Patient/max") | note | elements


def run(syncing: SyncWorld, *items: Resource | Found) -> dict[str, str]:
    """Item's source id -> reason of what stands aside after one run."""
    syncing.clinic.says([batch(*items)])
    syncing.run(syncing.connect())
    names = {syncing.local(name): name for one in items if isinstance(one, dict) for name in [_name(one)]}
    return {names[item]: reason for item, reason in syncing.aside().items()}


def _name(resource: Resource) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


SAME = {
    "equal number": ERIKA,
    "equal number, another name": replace(ERIKA, family="Verheiratet"),
    "number with a blank, in lower case": replace(ERIKA, kvnr=" x110411675 "),
    "no number, equal name and birth date": replace(ERIKA, kvnr=None),
    "no number, first given name alone": replace(ERIKA, kvnr=None, given="Erika"),
    "no number, hyphened given names": replace(ERIKA, kvnr=None, given="Erika-Josefine"),
    "no number, other letter case": replace(ERIKA, kvnr=None, family="BEISPIELMANN"),
}
ANOTHER = {
    "another number": replace(ERIKA, kvnr="M987654326"),
    "no number, another family name": replace(ERIKA, kvnr=None, family="Beispielfrau"),
    "no number, another given name": replace(ERIKA, kvnr=None, given="Josefine Erika"),
    "no number, another birth date": replace(ERIKA, kvnr=None, birth_date="1957-08-14"),
}
SILENT: dict[str, Resource] = {
    "nothing": {"identifier": [], "name": [], "birthDate": ""},
    "a name without birth date": {"identifier": [], "birthDate": ""},
    "a year alone": {"identifier": [], "birthDate": "1957"},
    "no given name": {"identifier": [], "name": [{"family": "Beispielmann"}]},
    "a number of the hospital's": {"identifier": [{"system": "urn:haus", "value": "4711"}], "name": []},
}


@pytest.mark.parametrize("who", SAME.values(), ids=SAME)
def test_it_is_the_same_person(syncing: SyncWorld, who: Person) -> None:
    assert run(syncing, patient(who), observation()) == {}
    assert syncing.versions("Observation/o1") == {"results": ["1"]}


@pytest.mark.parametrize("who", ANOTHER.values(), ids=ANOTHER)
def test_it_is_another_person_and_so_is_all_that_the_account_shows(syncing: SyncWorld, who: Person) -> None:
    assert run(syncing, patient(who), observation()) == {"Patient/p1": "other-person", "Observation/o1": "other-person"}
    assert syncing.record() == {"identity": syncing.record()["identity"]}
    assert list(syncing.record()["identity"]) == [syncing.world.owner.patient]


@pytest.mark.parametrize("elements", SILENT.values(), ids=SILENT)
def test_an_account_that_does_not_say_whose_it_is_gives_nothing(syncing: SyncWorld, elements: Resource) -> None:
    said = {name: value for name, value in (patient() | elements).items() if value}
    assert run(syncing, said, observation()) == {"Patient/p1": "no-subject", "Observation/o1": "other-person"}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("Müller", "Mueller"),
        ("Groß", "GROSS"),
        ("Mu\u0308ller", "Müller"),
        ("Jäger-Weiß", "jaeger weiss"),
        ("Ørsted", "ørsted"),
    ],
)
def test_two_spellings_of_an_umlaut_are_one_name(syncing: SyncWorld, ours: str, theirs: str) -> None:
    owner = syncing.fresh()
    said = owner_patient.resource(owner.whole_patient, replace(ERIKA, kvnr=None, family=ours))
    syncing.world.signing.introduce(owner, said)
    assert run(syncing, patient(replace(ERIKA, kvnr=None, family=theirs))) == {}


ELSEWHERE = {
    "subject": secret_observation(),
    "subject by version": secret_observation(subject={"reference": "Patient/max/_history/2"}),
    "subject by insurance number": secret_observation(
        subject={"identifier": {"system": codes.KVNR, "value": MAX.kvnr}}
    ),
    "a contained subject": secret_observation(subject={"reference": "#x"}, contained=[patient(MAX, "x")]),
    "one of several subjects": {
        "resourceType": "Account",
        "id": "o-zittert-1",
        "status": "active",
        "subject": [{"reference": "Patient/p1"}, {"reference": "Patient/max"}],
        "description": "Herr Geheimnisvoll zittert",
    },
    "a document about somebody else": {
        "resourceType": "Bundle",
        "id": "o-zittert-1",
        "type": "collection",
        "entry": [{"resource": patient(MAX, "max")}],
    },
    "beneficiary": {
        "resourceType": "Coverage",
        "id": "o-zittert-1",
        "status": "active",
        "beneficiary": {"reference": "Patient/max"},
        "payor": [{"display": "Kasse"}],
    },
}


@pytest.mark.attack(57)
@pytest.mark.parametrize("resource", ELSEWHERE.values(), ids=ELSEWHERE)
@weakens("aggregator.sync.whose.Whose", "refuse", lambda *_: None)
def test_another_persons_resource_in_our_account_leaves_reason_and_keyed_hash_alone(
    syncing: SyncWorld, resource: Resource
) -> None:
    name = _name(resource)
    assert run(syncing, patient(), patient(MAX, "max"), resource) == {
        "Patient/max": "other-person",
        name: "other-person",
    }
    for aside in syncing.opened():
        assert (aside["raw"], aside["detail"], aside["locator"]) == (None, "", "")
    assert list(syncing.versions("Patient/p1")) == ["identity"]
    _nothing_of_max(syncing)


@pytest.mark.attack(57)
@weakens("aggregator.consent.mandate.Expected", "compare", lambda *_: True)
def test_of_another_persons_whole_account_no_byte_stays(syncing: SyncWorld) -> None:
    run(syncing, patient(MAX, "max"), secret_observation(), secret_observation(valueQuantity={"value": "no number"}))
    _nothing_of_max(syncing)


def _nothing_of_max(syncing: SyncWorld) -> None:
    """Neither at rest, nor in what the patient can open of it."""
    told = str(syncing.opened()) + str(syncing.record())
    stored = syncing.raw()
    assert [one for one in CANARIES if one in stored or one.decode() in told] == []


def test_a_parent_who_holds_the_policy_makes_it_no_less_the_childs(syncing: SyncWorld) -> None:
    coverage = ELSEWHERE["beneficiary"] | {
        "id": "c1",
        "beneficiary": {"reference": "Patient/p1"},
        "policyHolder": {"reference": "Patient/max"},
    }
    assert run(syncing, patient(), coverage) == {}


def test_a_document_that_names_this_person_among_others_is_hers(syncing: SyncWorld) -> None:
    people = [{"resource": patient(MAX, "max")}, {"resource": patient()}]
    assert run(syncing, patient(), {"resourceType": "Bundle", "id": "b1", "type": "collection", "entry": people}) == {}


@pytest.mark.attack(57)
@weakens("aggregator.consent.mandate.Expected", "compare", lambda *_: True)
def test_what_comes_under_an_id_that_now_is_somebody_elses_is_refused(syncing: SyncWorld) -> None:
    syncing.clinic.says([batch(patient(), observation("o1"))], [batch(patient(MAX), observation("o2"))])
    connection = syncing.connect()
    syncing.run(connection)
    syncing.run(connection)
    assert set(syncing.aside()) == {syncing.local("Patient/p1"), syncing.local("Observation/o2")}
    assert syncing.versions("Patient/p1") == {"identity": ["1"]}


def test_a_person_with_two_records_at_the_source_gets_both(syncing: SyncWorld) -> None:
    second = observation("o2", patient="Patient/p2")
    assert run(syncing, patient(), patient(source_id="p2"), observation("o1"), second) == {}
    own = f"Patient/{syncing.world.vault}.{syncing.world.owner.patient}"
    subjects = [syncing.resource(f"Observation/{name}")["subject"]["reference"] for name in ("o1", "o2")]
    assert subjects == [own, own]


def test_what_names_nobody_belongs_to_the_account(syncing: SyncWorld) -> None:
    house = {"resourceType": "Organization", "id": "h1", "name": "Klinik"}
    named = condition("E11.90") | {"subject": {"display": "die Patientin"}}
    assert run(syncing, patient(), house, named) == {}
