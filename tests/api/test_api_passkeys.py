"""Passkeys over HTTP, with a software authenticator: what opens, what is registered, and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from sqlmodel import select
from webauthn.authentication.verify_authentication_response import VerifiedAuthentication
from webauthn.helpers import parse_attestation_object
from webauthn.helpers.structs import CredentialDeviceType

from aggregator.identity.tables import Unlocker
from aggregator.vault.encoding import b64
from aggregator.vault.seal import header
from tests.api.http_world import HttpWorld
from tests.api.ways_in import bearer, by_passkey, challenge, options, register, sign_in, told, unlockers
from tests.identity.authenticator import Authenticator, raw, text
from tests.weaken import weakens


def test_a_passkey_opens_the_record_without_a_login(fresh: HttpWorld, device: Authenticator) -> None:
    assert register(fresh, device).status_code == 201
    assert unlockers(fresh)["passkey"]["label"] == "Handy"
    for _ in range(2):
        signed_in = by_passkey(fresh, device.get(challenge(fresh)))
        assert signed_in.json()["patient"] == fresh.patients["erika"]
        assert fresh.everything(bearer(signed_in)) == fresh.everything(fresh.owner())


def test_a_passkey_that_does_not_count_is_taken(fresh: HttpWorld, device: Authenticator) -> None:
    device.counts = False
    assert register(fresh, device).status_code == 201
    assert [by_passkey(fresh, device.get(challenge(fresh))).status_code for _ in range(2)] == [200, 200]


def test_the_options_ask_for_a_discoverable_verified_passkey_and_know_those_there_are(
    fresh: HttpWorld, device: Authenticator
) -> None:
    asked = options(fresh)
    selection = asked["create"]["authenticatorSelection"]
    assert (selection["residentKey"], selection["userVerification"]) == ("required", "required")
    assert asked["create"]["excludeCredentials"] == []
    assert asked["create"]["attestation"] == "none"
    register(fresh, device)
    (known,) = options(fresh)["create"]["excludeCredentials"]
    assert raw(known["id"]) in device.held


@pytest.mark.attack(47)
def test_the_options_for_signing_in_tell_of_nobody(fresh: HttpWorld, device: Authenticator) -> None:
    before = challenge(fresh)
    register(fresh, device)
    after = challenge(fresh)
    assert before.pop("challenge") != after.pop("challenge")
    assert before == after
    assert before["allowCredentials"] == []


def _other(text_: str) -> str:
    return text(bytes(byte ^ 1 for byte in raw(text_)))


def _prf(value: object) -> Callable[[dict[str, Any]], None]:
    def change(made: dict[str, Any]) -> None:
        made["clientExtensionResults"]["prf"]["results"]["first"] = value

    return change


def _response(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(made: dict[str, Any]) -> None:
        made["response"][name] = value(made["response"][name]) if callable(value) else value

    return change


def _members(**members: object) -> Callable[[dict[str, Any]], None]:
    return lambda made: made.update(members)


WRONG: dict[str, Callable[[dict[str, Any]], None]] = {
    "another PRF secret": _prf(text(bytes(32))),
    "a PRF secret too short": _prf(text(bytes(31))),
    "no PRF secret": _members(clientExtensionResults={}),
    "a PRF secret that is no text": _prf(7),
    "a changed signature": _response("signature", _other),
    "no signature": _response("signature", None),
    "other authenticator data": _response("authenticatorData", _other),
    "client data that is no JSON": _response("clientDataJSON", text(b"[")),
    "client data without a challenge": _response("clientDataJSON", text(b"{}")),
    "a challenge of one's own": _response(
        "clientDataJSON", lambda told_: text(raw(told_).replace(b'"challenge": "', b'"challenge": "AAAA'))
    ),
    "an unknown credential": _members(id=text(b"x" * 32), rawId=text(b"x" * 32)),
    "ids that differ": _members(id=text(b"x" * 32)),
    "a credential id that is no text": _members(rawId=7),
    "no response": _members(response=None),
    "another type": _members(type="password"),
}


@pytest.mark.attack(47)
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_about_an_assertion_is_refused_in_one_sentence(
    enrolled: tuple[HttpWorld, Authenticator], wrong: str
) -> None:
    world, device = enrolled
    made = device.get(challenge(world))
    WRONG[wrong](changed := copy.deepcopy(made))
    assert told(by_passkey(world, changed)) == (401, "the passkey was not accepted")


@pytest.fixture(scope="module")
def enrolled(shared: HttpWorld) -> tuple[HttpWorld, Authenticator]:
    """A world that Erika has a passkey in."""
    device = Authenticator(shared.service.base_url)
    assert register(shared, device).status_code == 201
    return shared, device


_VERIFY = "aggregator.identity.passkeys"


def _unverified(**told: Any) -> Any:
    """The library's check without the signature: what is left when only the secret counts."""
    count = int.from_bytes(raw(told["credential"]["response"]["authenticatorData"])[33:37], "big")
    return VerifiedAuthentication(b"", count, CredentialDeviceType.SINGLE_DEVICE, False, True)


@pytest.mark.attack(47)
@weakens(_VERIFY, "verify_authentication_response", _unverified)
def test_the_right_secret_opens_nothing_without_a_right_assertion(enrolled: tuple[HttpWorld, Authenticator]) -> None:
    """A PRF secret that leaked once (it goes over the wire) is worth nothing without the authenticator."""
    world, device = enrolled
    made = device.get(challenge(world))
    made["response"]["signature"] = _other(made["response"]["signature"])
    assert by_passkey(world, made).status_code == 401


@pytest.mark.attack(47)
@weakens("aggregator.identity.unlockers", "passkey_key", lambda _: bytes(32))
def test_an_assertion_opens_nothing_without_the_secret(fresh: HttpWorld, device: Authenticator) -> None:
    assert register(fresh, device).status_code == 201
    made = device.get(challenge(fresh))
    _prf(text(bytes(32)))(made)
    assert by_passkey(fresh, made).status_code == 401


@pytest.mark.attack(47)
@weakens("aggregator.identity.passkeys.Passkeys", "use", lambda *_: None)
def test_an_assertion_is_used_once(fresh: HttpWorld, device: Authenticator) -> None:
    """Also by an authenticator that does not count, and when the first use failed at the secret."""
    device.counts = False
    assert register(fresh, device).status_code == 201
    made = device.get(challenge(fresh))
    wrong = copy.deepcopy(made)
    _prf(text(bytes(32)))(wrong)
    assert by_passkey(fresh, wrong).status_code == 401
    assert by_passkey(fresh, made).status_code == 401
    assert by_passkey(fresh, device.get(challenge(fresh))).status_code == 200


@pytest.mark.attack(47)
def test_a_challenge_is_answered_within_five_minutes(enrolled: tuple[HttpWorld, Authenticator]) -> None:
    world, device = enrolled
    asked = challenge(world)
    now = world.clock.now
    try:
        for seconds, status in ((300, 401), (-86400, 401), (299, 200)):
            world.clock.now = now
            world.clock.advance(seconds=seconds)
            assert by_passkey(world, device.get(asked)).status_code == status
    finally:
        world.clock.now = now


@pytest.mark.attack(47)
def test_a_challenge_for_one_thing_is_none_for_another(enrolled: tuple[HttpWorld, Authenticator]) -> None:
    world, device = enrolled
    made = device.get(options(world)["get"])
    assert by_passkey(world, made).status_code == 401


@pytest.mark.attack(47)
@pytest.mark.parametrize("page", ["https://phishing.example", "http://127.0.0.1", ""])
def test_another_sites_page_gets_nobody_in(enrolled: tuple[HttpWorld, Authenticator], page: str) -> None:
    world, device = enrolled
    with_page = Authenticator(page, counts=device.counts, held=device.held)
    assert by_passkey(world, with_page.get(challenge(world))).status_code == 401


@pytest.mark.attack(47)
def test_another_relying_partys_assertion_is_refused(enrolled: tuple[HttpWorld, Authenticator]) -> None:
    world, device = enrolled
    assert by_passkey(world, device.get(challenge(world), rp="other.example")).status_code == 401


@pytest.mark.attack(47)
def test_an_authenticator_that_did_not_check_who_holds_it_is_refused(
    enrolled: tuple[HttpWorld, Authenticator],
) -> None:
    world, device = enrolled
    unverified = Authenticator(device.origin, verifies=False, counts=device.counts, held=device.held)
    assert by_passkey(world, unverified.get(challenge(world))).status_code == 401


@pytest.mark.attack(47)
def test_a_count_that_does_not_rise_is_a_copied_authenticator(fresh: HttpWorld, device: Authenticator) -> None:
    assert register(fresh, device).status_code == 201
    clone = copy.copy(device)
    clone.held = {credential: copy.copy(held) for credential, held in device.held.items()}
    assert by_passkey(fresh, device.get(challenge(fresh))).status_code == 200
    assert by_passkey(fresh, clone.get(challenge(fresh))).status_code == 401
    assert by_passkey(fresh, device.get(challenge(fresh))).status_code == 200


@pytest.mark.attack(21, 22)
@weakens(
    "aggregator.identity.unlockers", "outer_header", lambda row: header("unlocker", row.vault, name=row.id), about=(22,)
)
def test_a_passkeys_public_key_is_not_the_databases_to_replace(fresh: HttpWorld, device: Authenticator) -> None:
    """With the secret, seen once on the wire, and the database: one's own key in the row signs."""
    assert register(fresh, device).status_code == 201
    seen = device.get(challenge(fresh))["clientExtensionResults"]
    mine = Authenticator(device.origin)
    (credential, held), asked = next(iter(device.held.items())), options(fresh)
    made = raw(mine.create(asked["create"])["response"]["attestationObject"])
    mine.held = {credential: next(iter(mine.held.values()))}
    mine.held[credential].count = held.count
    _replace_public_key(fresh, made)
    assert by_passkey(fresh, mine.get(challenge(fresh)) | {"clientExtensionResults": seen}).status_code == 401


def _replace_public_key(world: HttpWorld, attestation: bytes) -> None:
    attested = parse_attestation_object(attestation).auth_data.attested_credential_data
    assert attested is not None
    with world.service.store.write() as session:
        row = session.exec(select(Unlocker).where(Unlocker.kind == "passkey")).one()
        stated = orjson.loads(row.parameters) | {"public": b64(attested.credential_public_key)}
        row.parameters = orjson.dumps(stated, option=orjson.OPT_SORT_KEYS).decode()
        session.add(row)


@pytest.mark.attack(47)
def test_a_passkey_is_registered_in_the_session_that_asked(fresh: HttpWorld, device: Authenticator) -> None:
    asked, other = options(fresh), bearer(sign_in(fresh))
    answers = {"registration": device.create(asked["create"]), "assertion": device.get(asked["get"])}
    refused = fresh.http.post("/app/unlockers/passkeys", json=answers, headers=other)
    assert told(refused) == (401, "the passkey was not accepted")


@pytest.mark.attack(47)
@pytest.mark.parametrize("case", ["origin", "relying party", "not verified", "assertion of another", "no secret"])
def test_a_passkey_that_is_not_sound_is_not_registered(fresh: HttpWorld, device: Authenticator, case: str) -> None:
    asked = options(fresh)
    if case == "origin":
        device.origin = "https://phishing.example"
    device.verifies = case != "not verified"
    registration = device.create(asked["create"], rp="other.example" if case == "relying party" else "")
    if case == "assertion of another":
        device.create(asked["create"])
    assertion = device.get(asked["get"])
    if case == "no secret":
        assertion["clientExtensionResults"] = {}
    answers = {"registration": registration, "assertion": assertion}
    refused = fresh.http.post("/app/unlockers/passkeys", json=answers, headers=fresh.owner())
    assert told(refused) == (401, "the passkey was not accepted")
    assert "passkey" not in unlockers(fresh)


@pytest.mark.parametrize(
    ("told_", "problem"),
    [
        ({}, "registration: an object is needed"),
        ({"registration": {}}, "assertion: an object is needed"),
        ({"registration": {}, "assertion": {}, "label": 7}, "label: a string is needed"),
        ({"registration": {}, "assertion": {}, "label": "x" * 61}, "a name for a device or a passkey has at most 60"),
    ],
)
def test_what_is_missing_is_told(shared: HttpWorld, told_: dict[str, object], problem: str) -> None:
    status, said = told(shared.http.post("/app/unlockers/passkeys", json=told_, headers=shared.owner()))
    assert (status, problem in said) == (400, True)


def test_a_passkey_is_there_once(fresh: HttpWorld, device: Authenticator) -> None:
    asked = options(fresh)
    answers = {"registration": device.create(asked["create"]), "assertion": device.get(asked["get"])}
    codes = [
        fresh.http.post("/app/unlockers/passkeys", json=answers, headers=fresh.owner()).status_code for _ in range(2)
    ]
    assert codes == [201, 400]
