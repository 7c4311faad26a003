"""SMART backend services: which assertions are refused, what a token stands for, and when it ends."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, RSAKey
from sqlmodel import select

from aggregator.config import ClientSettings
from aggregator.errors import Refused, SignInFailed
from aggregator.identity.assertions import ASSERTION_TYPE
from aggregator.identity.client_registry import register
from aggregator.identity.clients import Clients
from aggregator.identity.tables import AccessToken
from tests.vault.world import World
from tests.weaken import weakens

AUDIENCE = "https://record.example/auth/token"
EC = ECKey.generate_key("P-384", {"kid": "ec-1", "use": "sig"})
RSA = RSAKey.generate_key(2048, {"kid": "rsa-1", "use": "sig"})
STRANGER = ECKey.generate_key("P-384", {"kid": "ec-1", "use": "sig"})

Claims = dict[str, Any]


def settings(folder: Path, name: str, keys: list[Any], **more: Any) -> ClientSettings:
    file = folder / f"{name}.jwks.json"
    file.write_text(json.dumps({"keys": [key.as_dict(private=False) for key in keys]}))
    return ClientSettings(name=name, jwks_file=file, **more)


@pytest.fixture
def clients(world: World, tmp_path: Path) -> Clients:
    """praxis-b with both kinds of keys and two purposes; labor-c, for payment alone; two apps."""
    app = {"kind": "app", "redirect_uris": ["https://app.example/back"]}
    told = {
        "app": settings(tmp_path, "app", [STRANGER], **app),
        "public": ClientSettings.model_validate({"name": "Public"} | app),
        "praxis-b": settings(tmp_path, "praxis-b", [EC, RSA], purposes=["TREAT", "HMARKT"]),
        "labor-c": settings(tmp_path, "labor-c", [STRANGER], kind="payer", purposes=["HPAYMT"]),
    }
    registered = register(told, lambda _: b"", world.clock)
    return Clients(world.store, world.ring, registered, world.clock, 300)


def claims(world: World, **changed: Any) -> Claims:
    made = {
        "iss": "praxis-b",
        "sub": "praxis-b",
        "aud": AUDIENCE,
        "exp": int(world.clock().timestamp()) + 240,
        "jti": "once-1",
    }
    return {name: value for name, value in (made | changed).items() if value is not None}


def assertion(made: Claims, key: Any = EC, header: Claims | None = None) -> str:
    algorithm = "RS384" if isinstance(key, RSAKey) else "ES384"
    head = {"alg": algorithm, "kid": key.kid, "typ": "JWT"} | (header or {})
    return jwt.encode(head, made, key, algorithms=["ES384", "RS384", "HS256"])


def raw(header: Claims, made: Claims, signature: bytes = b"") -> str:
    """A token put together by hand."""
    parts = (json.dumps(header).encode(), json.dumps(made).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def hs256(made: Claims, secret: bytes) -> str:
    """What takes the public key for a shared secret; libraries refuse to make it."""
    signed = raw({"alg": "HS256", "kid": "rsa-1"}, made).rpartition(".")[0]
    return signed + raw({}, {}, hmac.digest(secret, signed.encode(), "sha256"))[-44:]


def form(text: str, scope: str = "system/*.rs") -> dict[str, str]:
    told = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE}
    return told | {"client_assertion": text, "scope": scope}


def signed_in(clients: Clients, world: World, scope: str = "system/*.rs", **changed: Any) -> dict[str, Any]:
    return clients.token(form(assertion(claims(world, **changed)), scope), AUDIENCE)


@pytest.mark.parametrize("key", [EC, RSA], ids=["ES384", "RS384"])
def test_a_signed_assertion_gives_a_token_that_stands_for_the_client(clients: Clients, world: World, key: Any) -> None:
    answer = clients.token(form(assertion(claims(world), key)), AUDIENCE)
    token = answer.pop("access_token")
    assert answer == {"token_type": "bearer", "expires_in": 300, "scope": "system/*.rs"}
    caller = clients.caller(token)
    assert (caller.client.id, caller.admission.purpose, caller.admission.scopes) == (
        "praxis-b",
        "TREAT",
        ("system/*.rs",),
    )
    assert token.encode() not in world.raw()


# --- assertions that are refused


FORGED: dict[str, Callable[[World], str]] = {
    "alg none": lambda world: raw({"alg": "none"}, claims(world)),
    "alg none with a signature": lambda world: raw({"alg": "none", "kid": "ec-1"}, claims(world), b"x" * 96),
    "HS256 with the public key as secret": lambda world: hs256(claims(world), RSA.as_pem(private=False)),
    "RS256, which SMART does not ask for": lambda world: jwt.encode(
        {"alg": "RS256", "kid": "rsa-1"}, claims(world), RSA, algorithms=["RS256"]
    ),
    "the key in the header": lambda world: assertion(claims(world), STRANGER, {"jwk": STRANGER.as_dict(private=False)}),
    "an address of keys in the header": lambda world: assertion(
        claims(world), STRANGER, {"jku": "https://evil.example/jwks"}
    ),
    "its own key, and one in the header": lambda world: assertion(
        claims(world), EC, {"jwk": EC.as_dict(private=False)}
    ),
    "a certificate in the header": lambda world: assertion(claims(world), EC, {"x5c": ["MIIB"]}),
    "another client's key": lambda world: assertion(claims(world), STRANGER),
    "another client's name": lambda world: assertion(claims(world, iss="labor-c", sub="labor-c")),
    "a public client, which has no key": lambda world: assertion(claims(world, iss="public", sub="public")),
    "a key whose name is a list": lambda world: raw({"alg": "ES384", "kid": ["ec-1"]}, claims(world), b"x" * 96),
    "an unknown client": lambda world: assertion(claims(world, iss="nobody", sub="nobody")),
    "iss is not sub": lambda world: assertion(claims(world, sub="labor-c")),
    "no sub": lambda world: assertion(claims(world, sub=None)),
    "another audience": lambda world: assertion(claims(world, aud="https://evil.example/auth/token")),
    "no audience": lambda world: assertion(claims(world, aud=None)),
    "an audience that begins like ours": lambda world: assertion(claims(world, aud=AUDIENCE + "/x")),
    "expired": lambda world: assertion(claims(world, exp=int(world.clock().timestamp()) - 31)),
    "over five minutes": lambda world: assertion(claims(world, exp=int(world.clock().timestamp()) + 331)),
    "for ever": lambda world: assertion(claims(world, exp=1e300)),
    "no expiry": lambda world: assertion(claims(world, exp=None)),
    "an expiry that is no number": lambda world: raw({"alg": "ES384", "kid": "ec-1"}, claims(world, exp=[1])),
    "not yet valid": lambda world: assertion(claims(world, nbf=int(world.clock().timestamp()) + 60)),
    "no jti": lambda world: assertion(claims(world, jti=None)),
    "not valid before a time beyond all numbers": lambda world: assertion(claims(world, nbf=10**400)),
    "a jti with half of a surrogate pair": lambda world: jws.serialize_compact(
        {"alg": "ES384", "kid": "ec-1"}, json.dumps(claims(world, jti="\ud800x")).encode(), EC, algorithms=["ES384"]
    ),
    "an empty jti": lambda world: assertion(claims(world, jti="")),
    "a jti that is no text": lambda world: assertion(claims(world, jti=7)),
    "a jti of 257 characters": lambda world: assertion(claims(world, jti="x" * 257)),
    "a header of 20 KB": lambda world: assertion(claims(world), EC, {"kid": "x" * 20_000}),
    "a claim of 100 MB": lambda _: "x" * 100_000_000,
    "nothing": lambda _: "",
    "no token": lambda _: "a.b.c",
    "not ASCII": lambda _: "ä.ö.ü",
    "half a surrogate": lambda _: "\ud800",
    "claims that are a list": lambda _: raw({"alg": "ES384", "kid": "ec-1"}, [1]),  # type: ignore[arg-type]  # on purpose
    "an issuer that is a list": lambda world: raw({"alg": "ES384"}, claims(world, iss=["praxis-b"])),
    "an unknown critical header": lambda world: raw(
        {"alg": "ES384", "kid": "ec-1", "crit": ["x"], "x": 1}, claims(world), b"x" * 96
    ),
}


@pytest.mark.attack(40, 41)
@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_it_is_refused_with_one_answer(clients: Clients, world: World, forge: Callable[[World], str]) -> None:
    with pytest.raises(SignInFailed, match=r"^invalid_client$"):
        clients.token(form(forge(world)), AUDIENCE)


@pytest.mark.attack(41)
@pytest.mark.parametrize("seconds", [-29, 1, 300, 330])
def test_clocks_may_differ_by_half_a_minute(clients: Clients, world: World, seconds: int) -> None:
    signed_in(clients, world, exp=int(world.clock().timestamp()) + seconds)


def test_one_of_several_audiences_is_enough(clients: Clients, world: World) -> None:
    signed_in(clients, world, aud=["https://other.example", AUDIENCE])


@pytest.mark.attack(41)
def test_an_assertion_is_taken_once(clients: Clients, world: World) -> None:
    text = assertion(claims(world))
    clients.token(form(text), AUDIENCE)
    for seconds in (0, 239, 30):
        world.clock.advance(seconds=seconds)
        with pytest.raises(SignInFailed):
            clients.token(form(text), AUDIENCE)
    world.clock.advance(minutes=10)
    with pytest.raises(SignInFailed):  # expired by then
        clients.token(form(text), AUDIENCE)


@pytest.mark.attack(41)
def test_of_ten_at_once_one_is_taken(clients: Clients, world: World) -> None:
    text = assertion(claims(world))

    def attempt(_: int) -> bool:
        try:
            clients.token(form(text), AUDIENCE)
        except SignInFailed:
            return False
        return True

    with ThreadPoolExecutor(10) as pool:
        assert sum(pool.map(attempt, range(10))) == 1


def test_the_same_jti_of_two_clients_is_two(clients: Clients, world: World) -> None:
    signed_in(clients, world)
    text = assertion(claims(world, iss="labor-c", sub="labor-c", **b2b("HPAYMT")), STRANGER)
    clients.token(form(text), AUDIENCE)


@pytest.mark.parametrize(
    "change",
    [{"grant_type": "password"}, {"grant_type": "authorization_code"}, {"client_assertion_type": "basic"}],
)
def test_no_other_way_in_is_offered(clients: Clients, world: World, change: dict[str, str]) -> None:
    with pytest.raises(Refused, match="unsupported_grant_type"):
        clients.token(form(assertion(claims(world))) | change, AUDIENCE)


@pytest.mark.attack(42)
@weakens("aggregator.identity.client_registry.Client", "is_app", False)
def test_an_app_gets_nothing_by_itself(clients: Clients, world: World) -> None:
    text = assertion(claims(world, iss="app", sub="app"), STRANGER)
    with pytest.raises(Refused, match=r"^unauthorized_client$"):
        clients.token(form(text), AUDIENCE)


# --- purpose of use and scopes


def b2b(purpose: Any) -> Claims:
    return {"extensions": {"hl7-b2b": {"version": "1", "purpose_of_use": purpose}}}


PURPOSES: list[tuple[Claims, str]] = [
    ({}, "TREAT"),
    (b2b(["HMARKT"]), "HMARKT"),
    (b2b("HMARKT"), "HMARKT"),
    (b2b(["urn:oid:2.16.840.1.113883.5.8#HMARKT"]), "HMARKT"),
    (b2b(["http://terminology.hl7.org/CodeSystem/v3-ActReason|HMARKT"]), "HMARKT"),
    (b2b(["http://terminology.hl7.org/CodeSystem/v3-ActReason#TREAT"]), "TREAT"),
    (b2b(["HMARKT", "TREAT"]), "HMARKT"),
    ({"extensions": {}}, "TREAT"),
    ({"extensions": {"hl7-b2b": {"version": "1"}}}, "TREAT"),
]


@pytest.mark.parametrize(("told", "purpose"), PURPOSES)
def test_the_purpose_is_chosen_among_those_registered(
    clients: Clients, world: World, told: Claims, purpose: str
) -> None:
    answer = signed_in(clients, world, **told)
    assert clients.caller(answer["access_token"]).admission.purpose == purpose


NOT_REGISTERED: list[Any] = [
    ["BTG"],
    ["HPAYMT"],
    ["HPAYMT", "TREAT"],
    ["TREAT", "BTG"],
    ["treat"],
    [" TREAT"],
    ["#TREAT"],
]
NO_PURPOSE: list[Any] = [[], "", 5, None, {"code": "TREAT"}, [None], [["TREAT"]]]
OTHER_SYSTEMS: list[Any] = [["urn:oid:1.2.3#TREAT"], ["https://codes.example|TREAT"]]


@pytest.mark.parametrize("told", [*NOT_REGISTERED, *NO_PURPOSE, *OTHER_SYSTEMS])
def test_a_purpose_that_is_not_registered_is_refused(clients: Clients, world: World, told: Any) -> None:
    with pytest.raises(Refused, match="invalid_request"):
        signed_in(clients, world, **b2b(told))


@pytest.mark.parametrize("told", ["none", None, ["hl7-b2b"], {"hl7-b2b": "none"}, {"hl7-b2b": None}])
def test_extensions_of_another_form_are_refused(clients: Clients, world: World, told: Any) -> None:
    text = assertion(claims(world) | {"extensions": told})
    with pytest.raises(Refused, match="invalid_request"):
        clients.token(form(text), AUDIENCE)


def test_who_is_not_registered_for_treatment_has_no_default(clients: Clients, world: World) -> None:
    text = assertion(claims(world, iss="labor-c", sub="labor-c"), STRANGER)
    with pytest.raises(Refused, match="invalid_request"):
        clients.token(form(text), AUDIENCE)


@pytest.mark.attack(42)
@pytest.mark.parametrize("scope", ["", "system/*.ud", "patient/*.rs", "openid"])
def test_without_a_scope_that_counts_there_is_no_token(clients: Clients, world: World, scope: str) -> None:
    with pytest.raises(Refused, match="invalid_scope"):
        signed_in(clients, world, scope)


@pytest.mark.attack(42)
def test_what_would_change_is_left_out(clients: Clients, world: World) -> None:
    answer = signed_in(clients, world, "system/Observation.cruds patient/*.rs")
    assert answer["scope"] == "system/Observation.crs"


# --- tokens


def test_a_token_ends_by_itself(clients: Clients, world: World) -> None:
    token = signed_in(clients, world)["access_token"]
    world.clock.advance(seconds=299)
    clients.caller(token)
    world.clock.advance(seconds=1)
    with pytest.raises(SignInFailed, match="the token is not valid"):
        clients.caller(token)


def test_a_revoked_token_is_worth_nothing(clients: Clients, world: World) -> None:
    token = signed_in(clients, world)["access_token"]
    clients.revoke(token)
    clients.revoke("never-was")
    with pytest.raises(SignInFailed, match="the token is not valid"):
        clients.caller(token)


@pytest.mark.attack(24)
@weakens("aggregator.vault.tickets", "_is_over", lambda *_: False)
def test_a_token_whose_row_was_edited_lives_no_longer(clients: Clients, world: World) -> None:
    token = signed_in(clients, world)["access_token"]
    world.sql("UPDATE access_token SET expires = expires + 3600")
    world.clock.advance(minutes=6)
    with pytest.raises(SignInFailed):
        clients.caller(token)


@pytest.mark.attack(4, 21)
@weakens("aggregator.vault.tickets.Tickets", "_key", lambda *_: bytes(32), about=(21,))
def test_a_token_does_not_open_another_tokens_row(clients: Clients, world: World) -> None:
    tokens = [signed_in(clients, world, jti=jti)["access_token"] for jti in ("once-1", "once-2")]
    with world.store.write() as session:
        first, second = session.exec(select(AccessToken)).all()
        first.row, second.row = second.row, first.row
    for token in tokens:
        with pytest.raises(SignInFailed):
            clients.caller(token)


def test_a_client_that_is_no_longer_registered_has_no_token(clients: Clients, world: World) -> None:
    token = signed_in(clients, world)["access_token"]
    restarted = Clients(world.store, world.ring, {}, world.clock, 300)
    with pytest.raises(SignInFailed):
        restarted.caller(token)
