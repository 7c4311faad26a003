"""The Consents that the demo's patients sign, as whole resources: https://hl7.org/fhir/R4/consent.html."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from aggregator.consent.section_table import SectionTable
from aggregator.demo.settings import Provider
from fhir_profiles.build import codeable, coding, identifier, period
from fhir_profiles.codes import ACT_CODE, ACT_REASON, CONFIDENTIALITY, CONSENT_SCOPE, LOINC, PARTICIPATION_TYPE
from fhir_profiles.profiles import SECTION_SYSTEM, SECTIONS
from fhir_profiles.text import Resource

_KIND_SYSTEM = "https://aggregator.example/fhir/sid/demo-consent"
_LIFE = timedelta(days=3 * 365)
_OWNERS_ALONE = "unsorted"


def everything_but_sensitive(provider: Provider, patient: str, now: datetime) -> Resource:
    """All of the record; the sensitive sections stay shut, because they are not named."""
    return _consent(provider, patient, now, {})


def results_alone(provider: Provider, patient: str, now: datetime) -> Resource:
    """The section `results` and no other."""
    return _consent(provider, patient, now, {"class": [coding(SECTION_SYSTEM, "results")]})


def everything(provider: Provider, patient: str, now: datetime) -> Resource:
    """All of the record: each section and each label that must be named is named."""
    sections = [coding(SECTION_SYSTEM, name) for name in SECTIONS if name != _OWNERS_ALONE]
    very_restricted = (CONFIDENTIALITY, "V")  # as a permit it opens all levels below it too
    labels = sorted({very_restricted, *SectionTable.load().restricted})
    named = {"securityLabel": [coding(*label) for label in labels], "class": sections}
    return _consent(provider, patient, now, named)


def identifier_of(consent: Resource) -> str:
    """The identifier by which a later run finds that this Consent was signed already, as a search token."""
    first = consent["identifier"][0]
    return f"{first['system']}|{first['value']}"


def _consent(provider: Provider, patient: str, now: datetime, narrowed: dict[str, Any]) -> Resource:
    # With the time of day: a date alone would begin at midnight elsewhere.
    signed, until = now.isoformat(timespec="seconds"), (now + _LIFE).isoformat(timespec="seconds")
    actor = {
        "role": codeable(coding(PARTICIPATION_TYPE, "IRCP", "information recipient")),
        "reference": {"identifier": identifier(provider.system, provider.value), "display": provider.name},
    }
    return {
        "resourceType": "Consent",
        "identifier": [identifier(_KIND_SYSTEM, provider.client_id)],
        "status": "active",
        "scope": codeable(coding(CONSENT_SCOPE, "patient-privacy")),
        "category": [codeable(coding(LOINC, "59284-0", "Patient Consent"))],
        "patient": {"reference": f"Patient/{patient}"},
        "dateTime": signed,
        "policyRule": codeable(coding(ACT_CODE, "OPTIN")),
        "provision": {
            "type": "permit",
            "period": period(signed, until),
            "actor": [actor],
            "purpose": [coding(ACT_REASON, "TREAT")],
            **narrowed,
        },
    }
