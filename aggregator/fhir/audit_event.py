"""A receipt as an AuditEvent: who, what, why, and the consent that decided it. https://hl7.org/fhir/R4/auditevent.html"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from aggregator.vault.image import Record
from aggregator.vault.keys import OWNER
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


_OWN_READING = "Sie haben Ihre Akte gelesen. / You read your record."
_OWN = {
    "create": "Sie haben eine Einwilligung unterschrieben. / You signed a consent.",
    "update": "Sie haben eine Einwilligung geändert. / You changed a consent.",
    "delete": "Sie haben einen Zugriff beendet. / You ended somebody's access.",
}
"""What the owner did, by interaction."""

_MOVED = {
    "exported": "Sie haben Ihre ganze Akte mitgenommen. / You took your whole record along.",
    "imported": "Sie haben Ihre Akte hierher mitgebracht. / You brought your record here.",
    "shared": "Sie haben etwas aus Ihrer Akte für einen Link bereitgelegt. / You put something behind a link.",
    "unshared": "Sie haben einen Link beendet. / You ended a link.",
}
"""What the owner did, by kind of receipt."""


_LINK = {
    "opened": "Wer sich „{name}“ nennt (nicht geprüft), hat Ihren Link „{link}“ geöffnet. / "
    "Somebody who says to be “{name}” (not verified) opened your link “{link}”.",
    "refused": "Wer sich „{name}“ nennt (nicht geprüft), wollte Ihren Link „{link}“ öffnen und durfte nicht. / "
    "Somebody who says to be “{name}” (not verified) wanted to open your link “{link}” and was not allowed to.",
}
"""What somebody did who has a link, by kind of receipt."""


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
        "outcomeDesc": _told(entry, withheld),
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


def _told(entry: Mapping[str, Any], withheld: Mapping[str, int]) -> str:
    """One sentence in German and English."""
    name, shown, hidden = entry["name"], entry.get("shown"), sum(withheld.values())
    if entry["kind"] in _MOVED:
        return _MOVED[entry["kind"]]
    if entry["kind"] == "written":
        written = entry.get("written")
        return (
            f"Sie haben {_number(written, 'Eintrag', 'Einträge')} in Ihrer Akte geschrieben oder gelöscht. / "
            f"You wrote or deleted {_number(written, 'entry', 'entries')} in your record."
        )
    if entry["party"] == OWNER:
        return _OWN.get(entry.get("interaction", ""), _OWN_READING)
    if "link" in entry:
        return _LINK[entry["kind"]].format(name=name, link=entry["link"])
    if entry["kind"] == "refused":
        return (
            f"{name} wollte Ihre Akte lesen und durfte nicht. / "
            f"{name} wanted to read your record and was not allowed to."
        )
    if entry["kind"] == "damaged":
        return (
            "Hier wurde etwas verändert oder entfernt: bitte den Betreiber fragen. / "
            "Something was changed or removed here: please ask the operator."
        )
    if entry["kind"] == "released":
        return (
            "Der Betreiber hat Ihren Anmeldenamen freigegeben; wer sich vorher anmeldet, behält ihn. / "
            "The operator released your login; whoever signs in before keeps it."
        )
    if entry["kind"] == "deposited":
        number = entry.get("added")
        return (
            f"{name} hat {_number(number, 'Eintrag', 'Einträge')} in Ihre Akte gelegt. / "
            f"{name} added {_number(number, 'entry', 'entries')} to your record."
        )
    if entry["kind"] == "stopped":
        return (
            "Der Betreiber hat einen Zugriff auf Ihre Akte beendet. / "
            "The operator ended somebody's access to your record."
        )
    if entry["kind"] == "restored":
        return (
            "Ihre Akte wurde aus einer Sicherung wiederhergestellt; was danach geschah, fehlt hier. / "
            "Your record was restored from a backup; what happened after it is missing here."
        )
    if entry["kind"] == "requested":
        return f"{name} hat um Einsicht in Ihre Akte gebeten. / {name} asked to be let into your record."
    if entry["kind"] == "opened":
        return f"{name} hat Ihre Akte geöffnet. / {name} opened your record."
    return (
        f"{name} hat {_number(shown, 'Eintrag', 'Einträge')} gesehen; {hidden} dieser Art blieben verborgen. / "
        f"{name} saw {_number(shown, 'entry', 'entries')}; {hidden} of this kind stayed hidden."
    )


def _number(number: Any, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
