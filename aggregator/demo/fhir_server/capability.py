"""What the server says of itself: https://hl7.org/fhir/R4/capabilitystatement.html and the SMART configuration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aggregator.demo.fhir_server.access import ALGORITHMS, SCOPES
from aggregator.demo.fhir_server.compartment import TYPES
from aggregator.demo.fhir_server.search import search_params
from fhir_profiles.text import Resource

_READS = ("read", "search-type")
_HISTORY = ("vread", "history-instance", "history-type")
_WRITES = ("create", "update", "delete")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a server lets others do over HTTP.

    types: those it answers for from the start; others are added once they are stored. history: vread and _history.
    writes: create, update, delete and Bundles. backend_services: sign-in as a SMART backend service.
    """

    title: str
    types: frozenset[str] = TYPES
    history: bool = True
    writes: bool = True
    backend_services: bool = True


def capability_statement(offer: Offer, types: Iterable[str], date: str) -> Resource:
    """The CapabilityStatement of a server that holds these types. date: a FHIR dateTime."""
    rest: Resource = {"mode": "server", "resource": [_of_type(offer, each) for each in sorted(types)]}
    if offer.backend_services:
        coding = {"system": "http://terminology.hl7.org/CodeSystem/restful-security-service", "code": "SMART-on-FHIR"}
        rest["security"] = {"service": [{"coding": [coding]}]}
    if offer.writes:
        rest["interaction"] = [{"code": "transaction"}, {"code": "batch"}]
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": date,
        "kind": "instance",
        "software": {"name": offer.title},
        "implementation": {"description": f"{offer.title}, a server of the demo"},
        "fhirVersion": "4.0.1",
        "format": ["json", "xml"],
        "rest": [rest],
    }


def _of_type(offer: Offer, resource_type: str) -> Resource:
    more = (_HISTORY if offer.history else ()) + (_WRITES if offer.writes else ())
    params = search_params(resource_type).items()
    return {
        "type": resource_type,
        "interaction": [{"code": code} for code in (*_READS, *more)],
        "versioning": "versioned",
        "readHistory": offer.history,
        "updateCreate": offer.writes,
        "conditionalCreate": offer.writes,
        "searchParam": [{"name": name, "type": kind} for name, kind in params],
    }


def smart_configuration(token_url: str) -> dict[str, Any]:
    """https://hl7.org/fhir/smart-app-launch/conformance.html#using-well-known"""
    return {
        "token_endpoint": token_url,
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "scopes_supported": list(SCOPES),
        "capabilities": ["client-confidential-asymmetric", "permission-v1", "permission-v2"],
    }
