"""A small world to decide in: a clock that is not UTC, four parties, consents and resources in a few words."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from aggregator.consent.decide import Context, Deny, Facts, Party, PartyKind, Permit, decide, facts_of, parse
from aggregator.consent.section_table import SectionTable
from fhir_profiles import codes
from fhir_profiles.profiles import SECTION_SYSTEM
from fhir_profiles.text import Resource

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=timezone(timedelta(hours=5, minutes=45)))

DR_B = Party("praxis-b", frozenset({(codes.BSNR, "721111100")}))
DR_C = Party("praxis-c")
INSURER = Party("kasse", frozenset({(codes.IKNR, "109500969")}), PartyKind.PAYER)
LABORATORY = Party("labor")

TYPE_SYSTEM = "http://hl7.org/fhir/resource-types"
SCOPE = {"coding": [{"system": codes.CONSENT_SCOPE, "code": "patient-privacy"}]}


def coding(system: str, code: str) -> Resource:
    return {"system": system, "code": code}


def concept(system: str, code: str) -> Resource:
    return {"coding": [coding(system, code)]}


def actor(party: str = "praxis-b", role: str = "PRCP") -> Resource:
    return {
        "role": concept(codes.PARTICIPATION_TYPE, role),
        "reference": {"reference": f"Organization/{party}"},
    }


def section(*names: str) -> list[Resource]:
    return [coding(SECTION_SYSTEM, name) for name in names]


def resource_type(*names: str) -> list[Resource]:
    return [coding(TYPE_SYSTEM, name) for name in names]


def sensitivity(*names: str) -> list[Resource]:
    return [coding(codes.ACT_CODE, name) for name in names]


def confidentiality(*names: str) -> list[Resource]:
    return [coding(codes.CONFIDENTIALITY, name) for name in names]


def purpose(*names: str) -> list[Resource]:
    return [coding(codes.ACT_REASON, name) for name in names]


def action(*names: str) -> list[Resource]:
    return [concept("http://terminology.hl7.org/CodeSystem/consentaction", name) for name in names]


def permit(*inside: Resource, **criteria: Any) -> Resource:
    """A permit for Dr B where no actor is given."""
    return _provision("permit", {"actor": [actor()]} | criteria, inside)


def deny(*inside: Resource, **criteria: Any) -> Resource:
    return _provision("deny", criteria, inside)


def frame(*inside: Resource, **criteria: Any) -> Resource:
    return _provision(None, criteria, inside)


def _provision(effect: str | None, criteria: dict[str, Any], inside: tuple[Resource, ...]) -> Resource:
    made = {"type": effect} if effect else {}
    made |= {"class" if name == "class_" else name: value for name, value in criteria.items() if value is not None}
    return made | ({"provision": list(inside)} if inside else {})


def consent(provision: Resource | None, id_: str = "c1", **elements: Any) -> Resource:
    made: Resource = {"resourceType": "Consent", "id": id_, "status": "active", "scope": SCOPE}
    return made | ({"provision": provision} if provision is not None else {}) | elements


def resource(type_: str = "Observation", **elements: Any) -> Resource:
    return {"resourceType": type_, "id": "r1"} | elements


def facts(made: Resource) -> Facts:
    return facts_of(made, SectionTable.load().section_of(made))


def asked(
    *consents: Resource,
    about: Resource | None = None,
    party: Party = DR_B,
    purpose: str = "TREAT",
    now: datetime = NOW,
) -> Permit | Deny:
    """The decision on one resource, by default an Observation of today for Dr B."""
    about = about or resource(effectiveDateTime="2026-11-21")
    return decide([parse(one) for one in consents], Context(party, purpose, now), facts(about))


GLUCOSE = resource(code=concept(codes.LOINC, "2339-0"), effectiveDateTime="2026-03-02")
DEPRESSION = resource("Condition", code=concept(codes.ICD_10_GM, "F32.1"), onsetDateTime="2024-05")
HYPERTENSION = resource("Condition", code=concept(codes.ICD_10_GM, "I10.90"), onsetDateTime="2019-01-15")
SERTRALINE = resource(
    "MedicationRequest",
    medicationCodeableConcept=concept(codes.ATC, "N06AB06"),
    reasonCode=[concept(codes.ICD_10_GM, "F32.1")],
    authoredOn="2024-06-01",
)
CLAIM = resource("ExplanationOfBenefit", billablePeriod={"start": "2025-01-01", "end": "2025-01-31"})
PATIENT = resource("Patient", birthDate="1980-02-03")
PRACTICE = resource("Organization", name="Praxis")
HIV = resource("Condition", code=concept(codes.ICD_10_GM, "B20"))
ALCOHOL_AND_DEPRESSION = resource(
    "Condition", code=concept(codes.ICD_10_GM, "F10.2"), evidence=[{"code": [concept(codes.ICD_10_GM, "F32.1")]}]
)
PRIVATE_RESULT = resource(meta={"security": confidentiality("R")}, effectiveDateTime="2026-01-01")
