"""Cards of the specification's, and of an issuer of the tests' own."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey

from aggregator.sharing import health_card

PUBLISHED: dict[str, Any] = json.loads((Path(__file__).parent / "vectors" / "published.json").read_bytes())
ISSUER = "https://klinik.example/cards"
KEY = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"})
PUBLIC = KEY.as_dict(private=False) | {"kid": KEY.thumbprint()}


def signed(claims: Mapping[str, Any] | None = None, *, more: Sequence[Mapping[str, Any]] = ()) -> str:
    """A card of the tests' own issuer."""
    patient = {"fullUrl": "resource:0", "resource": {"resourceType": "Patient", "birthDate": "1957-08-13"}}
    dose = {
        "resourceType": "Immunization",
        "status": "completed",
        "vaccineCode": {"coding": [{"system": "http://hl7.org/fhir/sid/cvx", "code": "207"}]},
        "patient": {"reference": "resource:0"},
        "occurrenceDateTime": "2021-01-01",
    }
    doses = [{"fullUrl": f"resource:{n}", "resource": one} for n, one in enumerate([*more] or [dose], 1)]
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [patient, *doses]}
    vc = {"type": [health_card.TYPE], "credentialSubject": {"fhirVersion": "4.0.1", "fhirBundle": bundle}, "rid": "r1"}
    said = {"iss": ISSUER, "nbf": 1_700_000_000, "vc": vc} | dict(claims or {})
    return signed_bytes(packed(json.dumps(said).encode()))


def signed_bytes(payload: bytes) -> str:
    top = {"alg": "ES256", "zip": "DEF", "kid": KEY.thumbprint()}
    registry = jws.JWSRegistry(algorithms=["ES256"], strict_check_header=False)
    return jws.serialize_compact(top, payload, KEY, registry=registry)


def packed(raw: bytes) -> bytes:
    packing = zlib.compressobj(wbits=-15)
    return packing.compress(raw) + packing.flush()
