"""SMART Health Cards, from the specification's published examples and from an issuer of the tests' own."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from aggregator.errors import CallerError
from aggregator.sharing import encrypted_file, health_card, link
from aggregator.sharing.health_card import Issuer, Result
from aggregator.sharing.issuers import Issuers
from connectors.contract import Transient
from tests.sharing.cards import ISSUER, KEY, PUBLIC, PUBLISHED, packed, signed, signed_bytes
from tests.weaken import weakens

pytestmark = pytest.mark.storeless

NOW = datetime(2026, 11, 21, 20, 30, tzinfo=UTC)


def issuer(*keys: Mapping[str, Any], trusted: bool = True, **more: Any) -> Issuer:
    return Issuer(name="Klinik Nord", trusted=trusted, keys=keys or (PUBLIC,), **more)


def test_the_published_card_is_verified_and_read() -> None:
    card = health_card.read(PUBLISHED["card"])
    assert card.issuer == PUBLISHED["issuer"]
    assert [one["resourceType"] for one in card.entries.values()] == ["Patient", *(["Immunization"] * 3)]
    verdict = health_card.check(card, issuer(PUBLISHED["key"]), NOW)
    assert (verdict.result, verdict.reason) == (Result.VERIFIED, "signed by Klinik Nord")


def test_the_published_codes_are_the_cards() -> None:
    assert health_card.texts({"codes": [PUBLISHED["code"]]}) == [PUBLISHED["card"]]
    split = PUBLISHED["split"]
    assert health_card.texts({"codes": split["codes"][::-1]}) == [split["card"]]
    assert health_card.check(health_card.read(split["card"]), issuer(PUBLISHED["key"]), NOW).result == "verified"


@pytest.mark.parametrize("left", [[0], [0, 1], [1, 2], [0, 0, 1]])
def test_a_split_card_needs_all_its_codes(left: list[int]) -> None:
    with pytest.raises(CallerError, match="all of them are needed"):
        health_card.texts({"codes": [PUBLISHED["split"]["codes"][at] for at in left]})


@pytest.mark.parametrize(
    ("claims", "known", "result", "reason"),
    [
        ({}, issuer(), "verified", "signed by Klinik Nord"),
        ({}, issuer(trusted=False), "unknown-issuer", "does not know the issuer"),
        ({}, None, "unchecked", "could not be had"),
        ({}, issuer(PUBLISHED["key"]), "wrong", "not the issuer's"),
        (
            {},
            issuer(PUBLIC | {"kid": "x"}),
            "verified",
            "signed by",
        ),  # its own name is its thumbprint, whatever is said
        ({"nbf": 1_900_000_000}, issuer(), "wrong", "not valid yet"),
        ({"exp": 1_700_000_001}, issuer(), "wrong", "expired"),
        ({"exp": 1_900_000_000.5}, issuer(), "verified", "signed by"),
        ({}, issuer(revoked={KEY.thumbprint(): ["r0", "r1"]}), "wrong", "revoked"),
        ({}, issuer(revoked={KEY.thumbprint(): ["r1.1700000001"]}), "wrong", "revoked"),
        ({}, issuer(revoked={KEY.thumbprint(): ["r1.1700000000"]}), "verified", "signed by"),
        ({}, issuer(unreadable=frozenset([KEY.thumbprint()])), "unchecked", "whether the issuer has revoked it"),
    ],
)
def test_what_checking_comes_to(claims: dict[str, Any], known: Issuer | None, result: str, reason: str) -> None:
    verdict = health_card.check(health_card.read(signed(claims)), known, NOW)
    assert (verdict.result, verdict.issuer) == (result, ISSUER)
    assert reason in verdict.reason


@pytest.mark.attack(36)
@weakens("aggregator.sharing.health_card", "_signed", lambda *_: True)
def test_a_changed_card_is_wrong() -> None:
    header, payload, signature = PUBLISHED["card"].split(".")
    said = json.loads(zlib.decompress(link.decoded(payload), -15))
    said["vc"]["credentialSubject"]["fhirBundle"]["entry"][1]["resource"]["lotNumber"] = "9"
    changed = ".".join((header, link.encoded(packed(json.dumps(said).encode())), signature))
    assert health_card.check(health_card.read(changed), issuer(PUBLISHED["key"]), NOW).result == "wrong"


@pytest.mark.attack(11)
@weakens("aggregator.sharing.health_card", "_is_as_specified", lambda _: True)
@pytest.mark.parametrize("header", [{"alg": "none"}, {"alg": "HS256"}, {"zip": "GZ"}])
def test_another_algorithm_is_refused(header: dict[str, str]) -> None:
    _, payload, signature = signed().split(".")
    top = {"alg": "ES256", "zip": "DEF", "kid": KEY.thumbprint()} | header
    with pytest.raises(CallerError, match="ES256"):
        health_card.read(".".join((link.encoded(json.dumps(top).encode()), payload, signature)))


def unbounded(packed_: bytes, most: int) -> bytes:
    _ = most
    return zlib.decompress(packed_, -15)


@pytest.mark.attack(46)
@weakens("aggregator.sharing.health_card", "inflate", unbounded)
def test_a_card_that_unpacks_to_more_than_a_card_is_refused() -> None:
    said = json.loads(zlib.decompress(link.decoded(signed().split(".")[1]), -15)) | {"x": "0" * 5_000_000}
    bomb = signed_bytes(packed(json.dumps(said).encode()))
    assert len(bomb) < 20_000
    with pytest.raises(CallerError):
        health_card.read(bomb)


@pytest.mark.attack(46)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b",
        "a.b.c",
        "é.b.c",
        PUBLISHED["card"] + "x" * 100_000,
        signed_bytes(b"not packed"),
        signed_bytes(packed(b"[")),
        signed_bytes(packed(b'{"vc": 7, "vc": 8}')),
        signed_bytes(packed(b"[" * 200)),
        signed({"iss": "http://klinik.example"}),
        signed({"iss": "https://klinik.example/"}),
        signed({"nbf": "x"}),
        signed({"nbf": True, "vc": {}}),
        signed({"vc": {"type": [], "credentialSubject": {"fhirBundle": {"entry": []}}}}),
        signed_bytes(packed(b'{"iss": "https://a.example", "nbf": 1e999999999999}')),
    ],
    ids=map(str, range(15)),
)
def test_what_is_no_card_is_refused(text: str) -> None:
    with pytest.raises(CallerError):
        health_card.read(text)


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"codes": []},
        {"codes": [7]},
        {"verifiableCredential": "x"},
        {"codes": ["shc:/1"]},
        {"codes": ["shl:/12"]},
        {"verifiableCredential": ["x"] * 21},
    ],
)
def test_what_holds_no_cards_is_refused(told: dict[str, Any]) -> None:
    with pytest.raises(CallerError):
        health_card.texts(told)


# Where keys come from.


class Web:
    """Addresses and what is there."""

    def __init__(self, **pages: Any) -> None:
        self.asked: list[str] = []
        self._pages = {f"{ISSUER}/.well-known/{name}": page for name, page in pages.items()}

    def get(self, address: str) -> bytes:
        self.asked.append(address)
        if address not in self._pages:
            raise Transient("nothing is there")
        return json.dumps(self._pages[address]).encode()


def test_keys_are_fetched_where_the_issuer_publishes_them() -> None:
    web, card = Web(**{"jwks.json": {"keys": [PUBLIC]}}), health_card.read(signed())
    found = Issuers({}, web.get).of(card)
    assert health_card.check(card, found, NOW).result == Result.UNKNOWN_ISSUER
    assert web.asked == [f"{ISSUER}/.well-known/jwks.json"]


def test_a_trusted_issuer_is_not_asked_over_the_network() -> None:
    web, card = Web(), health_card.read(signed())
    assert health_card.check(card, Issuers({ISSUER: issuer()}, web.get).of(card), NOW).result == Result.VERIFIED
    assert web.asked == []


@pytest.mark.parametrize("page", [None, [], {"keys": 7}, {"keys": [7, {"kty": "RSA"}, {"crv": "P-256"}]}])
def test_what_is_no_set_of_keys_verifies_nothing(page: Any) -> None:
    card = health_card.read(signed())
    verdict = health_card.check(card, Issuers({}, Web(**{"jwks.json": page}).get).of(card), NOW)
    assert verdict.result in (Result.UNCHECKED, Result.WRONG)


def test_the_list_of_revoked_cards_is_fetched_where_there_is_one() -> None:
    keys, name = {"keys": [PUBLIC | {"crlVersion": 2}]}, f"crl/{KEY.thumbprint()}.json"
    card = health_card.read(signed())
    results = [
        health_card.check(card, Issuers({}, Web(**{"jwks.json": keys, name: page}).get).of(card), NOW).result
        for page in ({"rids": ["r1"]}, {"rids": ["other"]}, {"rids": 7})
    ]
    assert results == [Result.WRONG, Result.UNKNOWN_ISSUER, Result.UNCHECKED]


# The published link and its file.


def test_the_published_link_is_read_and_written_the_same() -> None:
    made = link.parse(PUBLISHED["link"])
    assert (made.flag, made.label) == ("LP", "Back-to-school immunizations for Oliver Brown")
    assert link.encoded(made.key) == PUBLISHED["link_key"]
    assert link.parse(f"https://viewer.example.org#{PUBLISHED['link']}") == made
    assert link.parse(made.text()) == made


def test_the_published_file_is_decrypted() -> None:
    kind, content = encrypted_file.decrypt(link.decoded(PUBLISHED["link_key"]), PUBLISHED["file"])
    assert kind == encrypted_file.HEALTH_CARD
    assert list(json.loads(content)) == ["verifiableCredential"]


@pytest.mark.parametrize("text", ["", "shlink:/", "shlink:/e30", "shlink:/!!", PUBLISHED["link"] + "x", "shc:/1234"])
def test_what_is_no_link_is_refused(text: str) -> None:
    with pytest.raises(CallerError):
        link.parse(text)
