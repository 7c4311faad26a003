"""SMART Health Cards: read from files and QR codes, their signatures checked.

https://hl7.org/fhir/uv/smart-health-cards-and-links/cards-specification.html. A card is a signed statement of its
issuer's; whose word that is, and whether it counts, is a value with a reason, never an exception: what a card holds is
taken as its owner's own in any case.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from aggregator.errors import CallerError
from aggregator.sharing.encrypted_file import Unpackable, inflate
from aggregator.sharing.link import decoded
from fhir_profiles.text import NotJson, Number, Resource, loads

TYPE = "https://smarthealth.cards#health-card"
MOST_CARDS = 20
_LONGEST = 100_000  # characters of one card; what is meant for a QR code has 1,195
_MOST_UNPACKED = 1_000_000  # bytes
_MOST_ENTRIES = 200
_CODE = re.compile(r"shc:/(?:(\d{1,2})/(\d{1,2})/)?((?:\d\d)+)")
_ISSUER = re.compile(r"https://[\x21-\x7e]{1,300}[^/]")
_ALGORITHMS = jws.JWSRegistry(algorithms=["ES256"], strict_check_header=False)  # `zip` is in no registry of JWS
_NO_CARD = "this is no SMART Health Card"


class Result(StrEnum):
    """What checking a card comes to."""

    VERIFIED = "verified"
    UNKNOWN_ISSUER = "unknown-issuer"
    UNCHECKED = "unchecked"
    UNSIGNED = "unsigned"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """reason: a sentence, for who reads what the card brought."""

    result: Result
    issuer: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card as it says itself, not checked yet. entries: fullUrl -> resource; rid: what it may be revoked by."""

    text: str = field(repr=False)
    kid: str
    issuer: str
    issued: float
    expires: float | None
    rid: str | None
    entries: Mapping[str, Resource] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """An issuer's keys, as JWKs. trusted: by the operator, under this name. revoked: kid -> what its list says.

    unreadable: lists of revoked cards that there are, and could not be had.
    """

    name: str
    trusted: bool
    keys: Sequence[Mapping[str, Any]]
    revoked: Mapping[str, Collection[str]] = field(default_factory=dict)
    unreadable: frozenset[str] = frozenset()


def texts(told: Mapping[str, Any]) -> list[str]:
    """The cards of a `.smart-health-card` file, {verifiableCredential: [...]}, or of QR codes, {codes: ["shc:/..."]}.

    A card that was split has all its codes here, in any order. Raises CallerError.
    """
    found = told.get("verifiableCredential", told.get("codes"))
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found) or not found:
        raise CallerError("a list is expected: verifiableCredential, as a card's file has it, or codes")
    made = found if "verifiableCredential" in told else _joined(found)
    if len(made) > MOST_CARDS:
        raise CallerError(f"at most {MOST_CARDS} cards at a time")
    return made


def _joined(codes: Sequence[str]) -> list[str]:
    """https://hl7.org/fhir/uv/smart-health-cards-and-links/cards-specification.html#encoding-qrs"""
    made, parts = list[str](), dict[int, str]()
    expected = 0
    for code in codes:
        match = _CODE.fullmatch(code.strip())
        if match is None or len(code) > 2 * _LONGEST:
            raise CallerError(_NO_CARD)
        text = "".join(chr(int(match[3][at : at + 2]) + 45) for at in range(0, len(match[3]), 2))
        if match[1] is None:
            made.append(text)
        else:
            parts[int(match[1])], expected = text, int(match[2])
    if parts.keys() != set(range(1, expected + 1)):
        raise CallerError("this card was split into several QR codes: all of them are needed, and of one card alone")
    return [*made, *(["".join(parts[at] for at in sorted(parts))] if parts else [])]


def read(text: str) -> Card:
    """What a card says. Raises CallerError for what is none, packs more than a card may hold, or is damaged."""
    try:
        if len(text) > _LONGEST:
            raise CallerError("this is longer than a SMART Health Card")
        header, payload, _ = text.split(".")
        top, told = loads(decoded(header)), loads(inflate(decoded(payload), _MOST_UNPACKED))
        if not _is_as_specified(top):
            raise CallerError("a SMART Health Card is signed by ES256 and packed by DEFLATE; this one is not")
        return _card(text, str(top["kid"]), told)
    except (KeyError, TypeError, AttributeError, ValueError, NotJson, Unpackable):
        raise CallerError(_NO_CARD) from None


def _is_as_specified(top: Mapping[str, Any]) -> bool:
    return bool((top["alg"], top["zip"]) == ("ES256", "DEF"))


def _card(text: str, kid: str, told: Mapping[str, Any]) -> Card:
    claim, bundle = told["vc"], told["vc"]["credentialSubject"]["fhirBundle"]
    entries = {str(one["fullUrl"]): one["resource"] for one in bundle["entry"]}
    if TYPE not in claim["type"] or not _ISSUER.fullmatch(told["iss"]) or len(entries) != len(bundle["entry"]):
        raise ValueError("not a card's claims")
    if len(entries) > _MOST_ENTRIES or not all(isinstance(one["resourceType"], str) for one in entries.values()):
        raise ValueError("not a card's Bundle")
    return Card(
        text=text,
        kid=kid,
        issuer=told["iss"],
        issued=_number(told["nbf"]),
        expires=_number(told["exp"]) if "exp" in told else None,
        rid=str(claim["rid"]) if "rid" in claim else None,
        entries=entries,
    )


def _number(stated: int | Number) -> float:
    return float(stated.decimal()) if isinstance(stated, Number) else float(stated)


def check(card: Card, issuer: Issuer | None, now: datetime) -> Verdict:
    """Whose word the card is. issuer: None where its keys cannot be had."""
    result, reason = _checked(card, issuer, now.timestamp())
    return Verdict(result=result, issuer=card.issuer, reason=reason)


def _checked(card: Card, issuer: Issuer | None, now: float) -> tuple[Result, str]:
    if issuer is None:
        return Result.UNCHECKED, "the issuer's keys could not be had, so nobody knows whether the signature is right"
    if not _signed(card, issuer.keys):
        return Result.WRONG, "the signature is not the issuer's"
    if card.issued > now:
        return Result.WRONG, "it is not valid yet"
    if card.expires is not None and card.expires <= now:
        return Result.WRONG, "it has expired"
    if _is_revoked(card, issuer.revoked.get(card.kid, ())):
        return Result.WRONG, "the issuer has revoked it"
    if card.kid in issuer.unreadable:
        return Result.UNCHECKED, "the signature is right, and whether the issuer has revoked it could not be found out"
    if not issuer.trusted:
        return (
            Result.UNKNOWN_ISSUER,
            "the signature is right, and the operator of this service does not know the issuer",
        )
    return Result.VERIFIED, f"signed by {issuer.name}"


def _signed(card: Card, keys: Sequence[Mapping[str, Any]]) -> bool:
    """By a key of the issuer's for this, whose name is its own thumbprint."""
    for stated in keys:
        try:
            key = ECKey.import_key({name: stated[name] for name in ("kty", "crv", "x", "y")})
            if stated["crv"] == "P-256" and key.thumbprint() == card.kid:
                jws.deserialize_compact(card.text, key, registry=_ALGORITHMS)
                return True
        except (JoseError, KeyError, ValueError, TypeError):
            continue
    return False


def _is_revoked(card: Card, listed: Collection[str]) -> bool:
    """https://hl7.org/fhir/uv/smart-health-cards-and-links/cards-specification.html#revocation"""
    for one in listed:
        rid, stamped, before = one.partition(".")
        if rid == card.rid and (not stamped or (before.isdigit() and card.issued < int(before))):
            return True
    return False
