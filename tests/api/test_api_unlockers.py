"""Ways in and sessions over HTTP, with a software authenticator: what is added, changed, ended, and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import orjson
import pytest
from sqlmodel import select
from webauthn.authentication.verify_authentication_response import VerifiedAuthentication
from webauthn.helpers import parse_attestation_object
from webauthn.helpers.structs import CredentialDeviceType

from aggregator.api.caller import Callers
from aggregator.commands import accounts
from aggregator.errors import SignInFailed
from aggregator.identity import logins
from aggregator.identity.tables import OwnerSession, Unlocker
from aggregator.vault.encoding import b64
from aggregator.vault.seal import header
from tests import databases
from tests.api.http_world import PASSWORD, HttpWorld
from tests.identity.authenticator import Authenticator, raw, text
from tests.weaken import weakens

NEW = "Ein neues langes Wort"
CODE_FIRST = "a recovery code is not removed: ask for a new one and type it back, then the old one goes"
LAST = "this is the last way in beside the recovery code; add another one first"


@pytest.fixture
def device(fresh: HttpWorld) -> Authenticator:
    return Authenticator(fresh.service.base_url)


def told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["issue"][0]["diagnostics"]


def bearer(answer: httpx.Response) -> dict[str, str]:
    assert answer.is_success, answer.text
    return {"Authorization": f"Bearer {answer.json()['token']}"}


def sign_in(world: HttpWorld, password: str = PASSWORD, **more: str) -> httpx.Response:
    return world.http.post("/auth/sign-in", json={"login": "erika", "password": password} | more)


def options(world: HttpWorld, who: dict[str, str] | None = None) -> Any:
    made = world.http.post("/app/unlockers/passkeys/options", json={"label": "Handy"}, headers=who or world.owner())
    assert made.status_code == 200, made.text
    return made.json()


def register(world: HttpWorld, device: Authenticator, who: dict[str, str] | None = None) -> httpx.Response:
    asked = options(world, who)
    answers = {"registration": device.create(asked["create"]), "assertion": device.get(asked["get"])}
    return world.http.post("/app/unlockers/passkeys", json=answers | {"label": "Handy"}, headers=who or world.owner())


def challenge(world: HttpWorld) -> Any:
    return world.http.post("/auth/passkey/options").json()


def by_passkey(world: HttpWorld, credential: object) -> httpx.Response:
    return world.http.post("/auth/passkey", json={"credential": credential, "device": "Handy"})


def unlockers(world: HttpWorld, who: dict[str, str] | None = None) -> dict[str, Any]:
    rows = world.get("/app/unlockers", who or world.owner()).json()["unlockers"]
    return {row["kind"]: row for row in rows}


# --- passkeys


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


# --- registering one


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


# --- changing and removing


CHANGES: dict[str, tuple[str, str, object]] = {
    "password": ("PUT", "/app/unlockers/password", {"password": NEW}),
    "recovery code": ("POST", "/app/unlockers/recovery", {}),
    "passkey's options": ("POST", "/app/unlockers/passkeys/options", {}),
    "passkey": ("POST", "/app/unlockers/passkeys", {"registration": {}, "assertion": {}}),
    "removal": ("DELETE", "/app/unlockers/0011223344556677", None),
}


@pytest.mark.attack(47)
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_takes_a_fresh_unlock_and_an_owner(shared: HttpWorld, change: str) -> None:
    method, path, body = CHANGES[change]
    shared.clock.advance(minutes=6)
    try:
        assert shared.http.request(method, path, json=body, headers=shared.owner()).status_code == 403
        assert shared.http.request(method, path, json=body, headers=shared.token("praxis")).status_code == 403
        assert shared.http.request(method, path, json=body).status_code == 401
    finally:
        shared.clock.advance(minutes=-6)


def test_a_new_password_ends_the_other_sessions(fresh: HttpWorld) -> None:
    other = bearer(sign_in(fresh))
    assert fresh.http.put("/app/unlockers/password", json={"password": NEW}, headers=fresh.owner()).status_code == 204
    assert fresh.get("/app/sessions", other).status_code == 401
    assert fresh.get("/app/sessions", fresh.owner()).status_code == 200
    assert (sign_in(fresh).status_code, sign_in(fresh, NEW).status_code) == (401, 200)


def test_a_short_password_changes_nothing(shared: HttpWorld) -> None:
    refused = shared.http.put("/app/unlockers/password", json={"password": "short"}, headers=shared.owner())
    assert told(refused) == (400, "the password needs at least 10 characters, at most 1024")
    assert sign_in(shared).status_code == 200


def test_a_new_recovery_code_counts_when_it_was_typed_back_and_the_old_one_till_then(fresh: HttpWorld) -> None:
    told_ = {"login": "carla", "password": PASSWORD, "family": "Dritte", "given": "Carla", "birth_date": "1999-09-09"}
    made = fresh.http.post("/auth/sign-up", json=told_)
    who, old = bearer(made), made.json()["recovery_code"]
    prove(fresh, old)
    codes = [fresh.http.post("/app/unlockers/recovery", headers=who).json()["recovery_code"] for _ in range(2)]
    assert recover(fresh, codes[0]) == 401  # asked for again: never typed back
    assert recover(fresh, old, PASSWORD) == 200
    assert prove(fresh, codes[1]) == 204
    assert recover(fresh, old) == 401
    assert recover(fresh, codes[1]) == 200


def prove(world: HttpWorld, code: str) -> int:
    told_ = {"login": "carla", "recovery_code": code}
    return world.http.post("/auth/recovery-proof", json=told_).status_code


def recover(world: HttpWorld, code: str, password: str = NEW) -> int:
    told_ = {"login": "carla", "recovery_code": code, "password": password}
    return world.http.post("/auth/recover", json=told_).status_code


def test_two_ways_in_remain(fresh: HttpWorld, device: Authenticator) -> None:
    def remove(kind: str) -> httpx.Response:
        return fresh.http.delete(f"/app/unlockers/{unlockers(fresh)[kind]['id']}", headers=fresh.owner())

    assert told(remove("password")) == (400, LAST)
    assert told(remove("recovery")) == (400, CODE_FIRST)
    assert register(fresh, device).status_code == 201
    assert told(remove("recovery")) == (400, CODE_FIRST)
    fresh.owners["erika"] = by_passkey(fresh, device.get(challenge(fresh))).json()["token"]
    assert remove("password").status_code == 204
    assert told(remove("passkey")) == (400, LAST)
    assert sign_in(fresh).status_code == 401
    assert by_passkey(fresh, device.get(challenge(fresh))).status_code == 200


def test_an_unlocker_that_goes_takes_its_sessions_with_it(fresh: HttpWorld, device: Authenticator) -> None:
    register(fresh, device)
    by_it = bearer(by_passkey(fresh, device.get(challenge(fresh))))
    removed = fresh.http.delete(f"/app/unlockers/{unlockers(fresh)['passkey']['id']}", headers=fresh.owner())
    assert removed.status_code == 204
    assert fresh.get("/app/sessions", by_it).status_code == 401
    assert fresh.get("/app/sessions", fresh.owner()).status_code == 200
    assert by_passkey(fresh, device.get(challenge(fresh))).status_code == 401


@pytest.mark.attack(1)
def test_anothers_unlockers_and_sessions_are_like_none(shared: HttpWorld) -> None:
    berta = shared.owner("berta")
    unlocker = unlockers(shared, berta)["password"]["id"]
    (session, *_) = (row["id"] for row in shared.get("/app/sessions", berta).json()["sessions"])
    for kind, there in (("unlockers", unlocker), ("sessions", session)):
        answers = [shared.http.delete(f"/app/{kind}/{one}", headers=shared.owner()) for one in (there, "0" * 16)]
        assert told(answers[0]) == told(answers[1])
    assert shared.get("/app/sessions", berta).status_code == 200
    assert unlockers(shared, berta)["password"]["id"] == unlocker


# --- every way in lost


def test_who_begins_anew_is_led_to_the_sources_and_the_old_record_tells_what_happened(fresh: HttpWorld) -> None:
    service = fresh.service
    assert not fresh.get("/app/sources", fresh.owner()).json()["start"]
    assert "in_words" not in fresh.get("/app/connections", fresh.owner()).json()
    for login in ("erika", "berta"):
        assert fresh.http.post("/auth/sign-out", headers=fresh.owner(login)).status_code == 204
    accounts.receipt(service, logins.find(service.store, service.key_service, "erika"))
    logins.release(service.store, service.key_service, "erika", fresh.clock().timestamp(), 7)
    fresh.clock.advance(days=7)
    told_ = {"login": "erika", "password": NEW, "family": "Muster", "given": "Erika", "birth_date": "1957-08-13"}
    made = fresh.http.post("/auth/sign-up", json=told_)
    assert made.json()["patient"] != fresh.patients["erika"]
    connections = fresh.get("/app/connections", bearer(made)).json()
    assert connections["connections"] == []
    assert connections["in_words"].keys() == {"de", "en"}
    assert fresh.get("/app/sources", bearer(made)).json()["start"]
    old = {"login": logins.later("erika", fresh.patients["erika"].partition(".")[0]), "password": PASSWORD}
    events = fresh.get("/fhir/AuditEvent?_count=500", bearer(fresh.http.post("/auth/sign-in", json=old))).text
    assert "Der Betreiber hat Ihren Anmeldenamen freigegeben" in events


# --- sessions


def test_sessions_are_listed_with_their_devices(fresh: HttpWorld) -> None:
    sign_in(fresh, device="Küchen-Tablet")
    agent = {"User-Agent": "Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0"}
    fresh.http.post("/auth/sign-in", json={"login": "erika", "password": PASSWORD}, headers=agent)
    rows = fresh.get("/app/sessions", fresh.owner()).json()["sessions"]
    assert {row["device"] for row in rows} >= {"Küchen-Tablet", "Firefox, Android"}
    assert [row["current"] for row in rows].count(True) == 1
    assert {row["unlocker"] for row in rows} == {unlockers(fresh)["password"]["id"]}
    assert {(row["unlocked_at"], row["seen"]) for row in rows} == {
        ("2026-11-21T20:30:00+00:00", "2026-11-21T20:00:00+00:00")
    }


@pytest.mark.parametrize("name", ["x" * 61, "a\nb", 7])
def test_a_devices_name_is_short_and_plain(shared: HttpWorld, name: object) -> None:
    told_ = {"login": "erika", "password": PASSWORD, "device": name}
    assert shared.http.post("/auth/sign-in", json=told_).status_code == 400


@pytest.mark.attack(20, 32)
def test_a_devices_name_is_for_its_owner_alone_and_of_one_length(fresh: HttpWorld) -> None:
    sign_in(fresh, device="Klinik am See, Station 4")
    sign_in(fresh, device="x")
    with fresh.service.store.read() as session:
        found = session.exec(select(OwnerSession.label)).all()
    assert len({len(label) for label in found}) == 1
    assert b"Station 4" not in databases.stored_bytes(fresh.service.store)


def test_the_hour_of_the_last_request_is_noted(fresh: HttpWorld) -> None:
    fresh.clock.advance(minutes=25)
    who = bearer(sign_in(fresh))
    fresh.clock.advance(minutes=10)
    for _ in range(50):
        seen = {row["seen"] for row in fresh.get("/app/sessions", who).json()["sessions"] if row["current"]}
        if seen == {"2026-11-21T21:00:00+00:00"}:
            break
    assert seen == {"2026-11-21T21:00:00+00:00"}


def test_a_session_is_ended_from_another(fresh: HttpWorld) -> None:
    other = bearer(sign_in(fresh, device="verloren"))
    assert fresh.get("/app/connections", other).status_code == 200
    rows = fresh.get("/app/sessions", fresh.owner()).json()["sessions"]
    lost = next(row["id"] for row in rows if row["device"] == "verloren")
    assert fresh.http.delete(f"/app/sessions/{lost}", headers=fresh.owner()).status_code == 204
    assert fresh.get("/app/connections", other).status_code == 401
    again = fresh.http.delete(f"/app/sessions/{lost}", headers=fresh.owner())
    assert told(again) == (400, "there is no such session; GET /app/sessions lists those there are")


def test_another_server_process_follows_when_it_looks_again(fresh: HttpWorld) -> None:
    other, who = Callers(fresh.service, lambda _: None), bearer(sign_in(fresh))
    token = who["Authorization"].removeprefix("Bearer ")
    other.remembered(token)
    assert fresh.http.delete("/app/sessions", headers=fresh.owner()).status_code == 200
    other._known[token] = replace(other._known[token], until=0.0)  # as it is five seconds later
    with pytest.raises(SignInFailed):
        other.remembered(token)


def test_all_other_sessions_are_ended_at_once(fresh: HttpWorld) -> None:
    others = [bearer(sign_in(fresh)) for _ in range(2)]
    berta = fresh.get("/app/sessions", fresh.owner("berta")).status_code
    assert fresh.http.delete("/app/sessions", headers=fresh.owner()).json() == {"ended": 2}
    assert [fresh.get("/app/sessions", who).status_code for who in others] == [401, 401]
    assert (berta, fresh.get("/app/sessions", fresh.owner("berta")).status_code) == (200, 200)
    assert fresh.get("/app/sessions", fresh.owner()).status_code == 200
