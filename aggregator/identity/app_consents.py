"""The R4 Consent that an approval is: what the patient has left of an app's scopes, as nested provisions.

The root says who, why, how long and in which sections; each provision in it permits what one scope reads. All criteria
down a path are ANDed, so nothing is open that the scope did not ask for, or the patient took away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aggregator.consent.provision import TYPE_SYSTEM
from aggregator.identity import app_parties
from aggregator.identity.app_scopes import EVERY, Reading
from fhir_profiles import build
from fhir_profiles.codes import (
    ACT_CODE,
    ACT_REASON,
    APP_AUTHORIZATION,
    CONSENT_SCOPE,
    LOINC,
    PARTICIPATION_TYPE,
)
from fhir_profiles.profiles import SECTION_SYSTEM
from fhir_profiles.text import Resource

_PRIVACY_CONSENT = (LOINC, "59284-0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """What a patient approves. app: its name, as the operator registered it. sections: those that stay open to it."""

    authorization: str
    app: str
    reading: tuple[Reading, ...]
    sections: tuple[str, ...]
    start: datetime
    end: datetime


def consent(approval: Approval) -> Resource:
    """The Consent to sign."""
    return {
        "resourceType": "Consent",
        "status": "active",
        "scope": _concept(CONSENT_SCOPE, "patient-privacy"),
        "category": [_concept(*_PRIVACY_CONSENT)],
        "dateTime": _instant(approval.start),
        "policyRule": _concept(ACT_CODE, "OPTIN"),
        "provision": {
            "period": {"start": _instant(approval.start), "end": _instant(approval.end)},
            "actor": [_actor(approval)],
            "purpose": [{"system": ACT_REASON, "code": app_parties.PURPOSE}],
            "class": [{"system": SECTION_SYSTEM, "code": name} for name in approval.sections],
            "provision": list(_permits(approval.reading)),
        },
    }


def _actor(approval: Approval) -> dict[str, Any]:
    identifier = build.identifier(APP_AUTHORIZATION, approval.authorization)
    reference = {"identifier": identifier, "display": approval.app}
    return {"role": _concept(PARTICIPATION_TYPE, "IRCP"), "reference": reference}


def _permits(reading: Sequence[Reading]) -> Iterable[dict[str, Any]]:
    for one in reading:
        permit: dict[str, Any] = {"type": "permit"}
        if one.resource_type != EVERY:
            permit["class"] = [{"system": TYPE_SYSTEM, "code": one.resource_type}]
        if one.codes:
            permit["code"] = [_concept(system, code) for system, code in one.codes]
        yield permit


def _concept(system: str, code: str) -> dict[str, Any]:
    return build.codeable(build.coding(system, code))


def _instant(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
