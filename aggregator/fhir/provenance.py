"""Provenance, synthesised from an operation's origin when it is read. https://hl7.org/fhir/R4/provenance.html

The payload is named by its hash, as a URI of RFC 6920 section 7.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from aggregator.vault.envelope import Put
from aggregator.vault.fold import State
from aggregator.vault.image import Record
from fhir_profiles import codes
from fhir_profiles.build import codeable, coding, identifier, reference
from fhir_profiles.profiles import WARNING_URL
from fhir_profiles.text import Resource, dumps

TYPE = "Provenance"
_AGENT = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
_LIFECYCLE = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle"


def records(vault: str, state: State) -> Iterator[Record]:
    """One Provenance for each current resource: which source gave it, when, by which connector.

    Its id is the resource's, so there is none of a Provenance: a source's own is read as it came.
    """
    for _, put in state.current():
        if put.resource_type == TYPE:
            continue
        updated = datetime.fromisoformat(put.updated)
        yield Record(
            resource_type=TYPE,
            local=put.local,
            version=put.version,
            updated=int(updated.timestamp() * 1000),
            section="",
            body=dumps(_resource(vault, put)),
        )


def _resource(vault: str, put: Put) -> Resource:
    origin = put.origin  # as its writer told it: what is left out there must not close what others wrote
    made: Resource = {
        "resourceType": TYPE,
        "id": f"{vault}.{put.local}",
        "target": [reference(f"{put.resource_type}/{vault}.{put.local}")],
        "recorded": put.updated,
        "activity": codeable(coding(_LIFECYCLE, "receive" if "hash" in origin else "originate")),
        "agent": [{"type": codeable(coding(_AGENT, "author")), "who": {"display": origin.get("source", "unknown")}}],
    }
    if put.warnings:
        made["extension"] = [{"url": WARNING_URL, "valueString": warning} for warning in put.warnings]
    if "connector" in origin:
        assembler = {"type": codeable(coding(_AGENT, "assembler")), "who": {"display": origin["connector"]}}
        made["agent"].append(assembler)
    if "fetched_at" in origin:
        made["occurredDateTime"] = origin["fetched_at"]
    if "hash" in origin and "locator" in origin:
        told = {"identifier": identifier(codes.URI, f"nih:{origin['hash']}"), "display": origin["locator"]}
        made["entity"] = [{"role": "source", "what": told}]
    if "issuer" in origin and "verification" in origin:  # the owner's own, whoever signed it elsewhere
        made["entity"] = [{"role": "source", "what": {"display": f"{origin['issuer']}: {origin['verification']}"}}]
    if "amends" in origin:
        made["entity"] = [{"role": "revision", "what": reference(origin["amends"])}]
    return made
