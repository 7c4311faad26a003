"""A resource id for things to which their source gives none that FHIR would take."""

from __future__ import annotations

import hashlib

import orjson

_LENGTH = 32  # 128 bits, in the alphabet and length of a FHIR id


def local_id(*parts: str | int) -> str:
    """32 hex digits that are equal exactly where all parts are: the same thing gets the same id at every pull."""
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()[:_LENGTH]
