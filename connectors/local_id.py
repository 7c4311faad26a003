"""Ids for things to which their source gives none that FHIR would take, and what they are called with them."""

from __future__ import annotations

import hashlib

import orjson

from fhir_profiles.text import Resource

_LENGTH = 32  # 128 bits, in the alphabet and length of a FHIR id


def local_id(*parts: str | int) -> str:
    """32 hex digits that are equal exactly where all parts are: the same thing gets the same id at every pull."""
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()[:_LENGTH]


def type_and_id(resource: Resource) -> str:
    """ "Type/id": how the contract and FHIR references name a resource of one source."""
    return f"{resource['resourceType']}/{resource['id']}"
