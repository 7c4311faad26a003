"""A receipt as an AuditEvent: who, what, why, and the consent that decided it. https://hl7.org/fhir/R4/auditevent.html"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from aggregator.fhir import receipt_words
from aggregator.vault.image import Record
from fhir_profiles.build import coding, reference
from fhir_profiles.codes import ACT_REASON
from fhir_profiles.text import Resource, dumps

TYPE = "AuditEvent"
_REST = coding("http://terminology.hl7.org/CodeSystem/audit-event-type", "rest", "RESTful Operation")
_INTERACTION = "http://hl7.org/fhir/restful-interaction"
_ACTIONS = {"create": "C", "update": "U", "delete": "D", "read": "R", "search-type": "E", "operation": "E"}
_ACTIONS |= {"transaction": "C", "patch": "U", "vread": "R", "history-instance": "R"}
# success; minor failure: a gap; serious failure: nothing was given; major failure: what is told here was changed
_OUTCOMES = {"answered": "0", "opened": "0", "released": "0", "refused": "8", "damaged": "12", "restored": "4"}
_OUTCOMES |= {"exported": "0", "imported": "0", "stopped": "0", "deposited": "0", "written": "0", "requested": "0"}
_OUTCOMES |= {"shared": "0", "unshared": "0"}


def record(
    vault: str, patient: str, position: int, entry: Mapping[str, Any], withheld: Mapping[str, int], closed: int = 0
) -> Record:
    """The record of the receipt at this position. withheld: section -> how many were not shown.

    closed: the number of an earlier installation's chain, where it is one's.
    """
    local = _local(position, closed)
    resource = _resource(vault, patient, local, entry, withheld)
    at = datetime.fromisoformat(entry["at"])
    return Record(
        resource_type=TYPE,
        local=local,
        version=1,
        updated=int(at.timestamp() * 1000),
        section="",
        body=dumps(resource),
    )


def damaged(vault: str, patient: str, position: int, at: str, closed: int = 0) -> Record:
    """What stands in a receipt's place when it does not open; at position 0 when the whole chain does not hold."""
    entry = {"kind": "damaged", "at": at, "party": "unknown", "name": "unknown"}
    return record(vault, patient, position, entry, {}, closed)


def _local(position: int, closed: int) -> str:
    """Zero-padded, so that the order of ids is the order of time."""
    return f"closed-{closed:03d}-receipt-{position:09d}" if closed else f"receipt-{position:09d}"


def _resource(vault: str, patient: str, local: str, entry: Mapping[str, Any], withheld: Mapping[str, int]) -> Resource:
    interaction = entry.get("interaction", "operation")
    made: Resource = {
        "resourceType": TYPE,
        "id": f"{vault}.{local}",
        "type": _REST,
        "subtype": [{"system": _INTERACTION, "code": interaction}],
        "action": _ACTIONS.get(interaction, "E"),
        "recorded": entry["at"],
        "outcome": _OUTCOMES[entry["kind"]],
        "outcomeDesc": " / ".join(receipt_words.told(entry, sum(withheld.values()))),
        "agent": [_agent(entry)],
        "source": {"observer": {"display": "patient record aggregator"}},
        "entity": [_entity(patient, entry, withheld)],
    }
    if entry.get("purpose"):
        made["purposeOfEvent"] = [{"coding": [coding(ACT_REASON, entry["purpose"])]}]
    return made


def _agent(entry: Mapping[str, Any]) -> Resource:
    who = {"identifier": {"value": entry["party"]}, "display": entry["name"]}
    return {"who": who, "name": entry["name"], "requestor": True}


def _entity(patient: str, entry: Mapping[str, Any], withheld: Mapping[str, int]) -> Resource:
    details = {
        "receipt": entry["kind"],
        "query": entry.get("query", ""),
        "shown": entry.get("shown"),
        "added": entry.get("added"),
        "written": entry.get("written"),
        "withheld": sum(withheld.values()) if entry["kind"] == "answered" else None,
        "grant-version": entry.get("grant_version"),
        "log-position": entry.get("log_position"),
        "reason": entry.get("reason", ""),
        "link": entry.get("link", ""),
    }
    told = [{"type": name, "valueString": str(value)} for name, value in details.items() if value not in (None, "")]
    told += [{"type": f"withheld-{section}", "valueString": str(number)} for section, number in withheld.items()]
    told += [{"type": "consent", "valueString": f"Consent/{consent}"} for consent in entry.get("consents", ())]
    return {"what": reference(patient), "detail": told}
