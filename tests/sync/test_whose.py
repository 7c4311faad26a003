"""Whose a resource is: what makes it another's, what cannot be told, and what must not be refused."""

from __future__ import annotations

from typing import Any

import pytest

from aggregator.consent.mandate import Expected
from aggregator.sync.whose import ELEMENTS, USUAL, Whose
from connectors.contract import Reason
from fhir_profiles import codes
from fhir_profiles.structure import RESOURCES
from fhir_profiles.text import Resource
from tests.sync.sync_world import patient
from tests.sync.test_sync_person import MAX
from tests.vault.world import ERIKA
from tests.weaken import weakens

HER, HIS = {"reference": "Patient/p1"}, {"reference": "Patient/max"}
DOCTOR, DEVICE = {"reference": "Practitioner/d1"}, {"reference": "Device/g1"}
WHOSE = Whose(Expected.of(ERIKA, b"k" * 32), {"Patient/p1"})


def kvnr(number: str | None) -> Resource:
    return {"identifier": {"system": codes.KVNR, "value": number}}


def a(resource_type: str, **elements: Any) -> Resource:
    return {"resourceType": resource_type, "id": "r1", **elements}


def bundle(*resources: Resource, **urls: Resource) -> Resource:
    entries = [{"resource": one} for one in resources]
    entries += [{"fullUrl": f"urn:uuid:{url}", "resource": one} for url, one in urls.items()]
    return a("Bundle", type="document", entry=entries)


ANOTHERS = {
    "a subject": a("Observation", subject=HIS),
    "a subject by version": a("Observation", subject={"reference": "Patient/max/_history/2"}),
    "a patient": a("Immunization", patient=HIS),
    "a subject at another server": a("Observation", subject={"reference": "https://praxis.example/fhir/Patient/9"}),
    "hers by id, at another server": a("Observation", subject={"reference": "https://praxis.example/fhir/Patient/p1"}),
    "a UUID and another's number": a("Observation", subject={"reference": "urn:uuid:1", **kvnr(MAX.kvnr)}),
    "another's number alone": a("Observation", subject=kvnr(MAX.kvnr)),
    "a contained subject": a("Observation", subject={"reference": "#x"}, contained=[patient(MAX, "x")]),
    "a contained resource's subject": a("DiagnosticReport", subject=HER, contained=[a("Observation", subject=HIS)]),
    "one of two subjects": a("Account", subject=[HER, HIS]),
    "a participant": a("Appointment", participant=[{"actor": DOCTOR}, {"actor": HIS}]),
    "who answered": a("AppointmentResponse", actor=HIS),
    "whose schedule": a("Schedule", actor=[DOCTOR, HIS]),
    "a person's link": a("Person", link=[{"target": HER}, {"target": HIS}]),
    "a group's member": a("Group", member=[{"entity": HER}, {"entity": HIS}]),
    "a beneficiary": a("Coverage", beneficiary=HIS, policyHolder=HER),
    "whose task": a("Task", **{"for": HIS}),
    "who takes part": a("ResearchSubject", individual=HIS),
    "who enrols": a("EnrollmentRequest", candidate=HIS),
    "an accessed record": a("AuditEvent", entity=[{"what": HIS}]),
    "a history of a record": a("Provenance", target=[HIS]),
    "a document from another's record": a("DocumentReference", subject=HER, context={"sourcePatientInfo": HIS}),
    "a Bundle about another": bundle(patient(MAX, "max")),
    "a Bundle with something of another's": bundle(patient(), patient(MAX, "max"), a("Observation", subject=HIS)),
    "the same by full URL": bundle(
        patient(), a("Observation", subject={"reference": "urn:uuid:m"}), m=patient(MAX, "max")
    ),
    "a Bundle in a Bundle": bundle(patient(), bundle(patient(MAX, "max"))),
    "a Bundle without Patients": bundle(a("Observation", subject=HIS)),
}


@pytest.mark.attack(57)
@pytest.mark.parametrize("resource", ANOTHERS.values(), ids=ANOTHERS)
@weakens("aggregator.sync.whose.Whose", "refuse", lambda *_: None)
def test_what_names_somebody_else_is_anothers(resource: Resource) -> None:
    assert WHOSE.refuse(resource) == Reason.OTHER_PERSON


def nested(levels: int) -> Resource:
    return bundle(nested(levels - 1)) if levels else bundle(patient())


UNTOLD = {
    "a UUID that is nowhere": a("Observation", subject={"reference": "urn:uuid:0c3f7e9e-8a52-4f0e-9a4e-1f8f6a2f4a11"}),
    "a condition": a("Observation", subject={"reference": "Patient?identifier=4711"}),
    "no reference at all": a("Observation", subject={"reference": "die Patientin"}),
    "a group": a("Observation", subject={"reference": "Group/3"}),
    "a group elsewhere": a("Observation", subject={"reference": "https://praxis.example/fhir/Group/3"}),
    "a contained group": a("Observation", subject={"reference": "#g"}, contained=[a("Group") | {"id": "g"}]),
    "Bundles without end": nested(100),
}


@pytest.mark.attack(46, 57)
@pytest.mark.parametrize("resource", UNTOLD.values(), ids=UNTOLD)
@weakens("aggregator.sync.whose.Whose", "refuse", lambda *_: None, about=(57,))
def test_who_cannot_be_told_is_not_taken_for_her(resource: Resource) -> None:
    assert WHOSE.refuse(resource) == Reason.NO_SUBJECT


HERS = {
    "hers": a("Observation", subject=HER),
    "nobody's": a("Organization", name="Klinik"),
    "a display": a("Condition", subject={"display": "die Patientin"}),
    "a number of the hospital's": a("Condition", subject={"identifier": {"system": "urn:x", "value": "4711"}}),
    "her number, however she is referred to": a("Condition", subject={"reference": "urn:uuid:1", **kvnr(ERIKA.kvnr)}),
    "a contained Patient who is she": a("Condition", subject={"reference": "#x"}, contained=[patient(source_id="x")]),
    "a contained Patient who says nothing": a("Condition", subject={"reference": "#x"}, contained=[{"id": "x"}]),
    "a contained Patient who is not there": a("Condition", subject={"reference": "#y"}),
    "a device": a("Observation", subject=DEVICE),
    "a device elsewhere": a("Observation", subject={"reference": "https://praxis.example/fhir/Device/1"}),
    "a location without an address": a("Observation", subject={"reference": "urn:uuid:1", "type": "Location"}),
    "a parent who holds the policy": a("Coverage", beneficiary=HER, policyHolder=HIS, subscriber=HIS, payor=[HIS]),
    "a companion at an appointment": a(
        "Appointment", participant=[{"actor": HER}, {"actor": DOCTOR}, {"actor": {"reference": "RelatedPerson/m"}}]
    ),
    "a mother's illness": a("FamilyMemberHistory", patient=HER, relationship={"text": "Mutter"}),
    "her mother": a("RelatedPerson", patient=HER, name=[{"family": "Beispielmann"}]),
    "a stay with a companion": a(
        "Encounter", subject=HER, participant=[{"individual": {"reference": "RelatedPerson/m"}}]
    ),
    "what was seen of a child": a("Observation", subject=HER, focus=[HIS]),
    "a letter that another reads too": a("Communication", subject=HER, recipient=[HIS]),
    "her son who looks": a("AuditEvent", agent=[{"who": HIS}], entity=[{"what": HER}]),
    "a doctor's schedule": a("Schedule", actor=[DOCTOR]),
    "a document of hers that names another": bundle(patient(), patient(MAX, "max"), a("Composition", subject=HER)),
    "a document by full URL": bundle(a("Composition", subject={"reference": "urn:uuid:e"}), e=patient(source_id="e")),
    "a document by its own ids": bundle(patient(source_id="1"), a("Composition", subject={"reference": "Patient/1"})),
    "a document that names nobody": bundle(a("Composition", title="Merkblatt")),
    "what has not been checked": a("Observation", subject=["x", 5, None, {"reference": 7}], contained={"id": []}),
}


@pytest.mark.parametrize("resource", HERS.values(), ids=HERS)
def test_what_is_hers_or_nobodys_is_not_refused(resource: Resource) -> None:
    assert WHOSE.refuse(resource) is None


def test_the_table_names_types_and_no_type_of_it_has_the_usual_elements_forgotten() -> None:
    assert ELEMENTS.keys() <= RESOURCES
    assert not {path for paths in ELEMENTS.values() for path in paths} & {"policyHolder", "subscriber", "agent.who"}
    assert USUAL == ("subject", "patient")
