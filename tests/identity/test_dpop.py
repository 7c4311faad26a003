"""DPoP proofs: RFC 9449's own, and which are refused."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey
from sqlmodel import select

from aggregator.errors import Refused
from aggregator.identity import dpop
from aggregator.identity.dpop import Proofs
from aggregator.identity.tables import UsedAssertion
from tests.vault.world import World
from tests.weaken import weakens

KEY = ECKey.generate_key("P-256")
OTHER = ECKey.generate_key("P-256")
RSA = RSAKey.generate_key(2048)
URL = "https://record.example/auth/token"
NOW = 1_800_000_000
TOKEN = "an-access-token"

# https://www.rfc-editor.org/rfc/rfc9449: figures 2 (section 4.1) and 13 (section 7.1), the key of figure 9.
RFC_HEADER = (
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRj"
    "QyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19."
)
RFC_TOKEN_REQUEST = (
    RFC_HEADER
    + "eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2"
    "VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
)
RFC_RESOURCE_REQUEST = (
    RFC_HEADER
    + "eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm"
    "90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9."
    "2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
)
RFC_TOKEN = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
RFC_THUMBPRINT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"

Told = dict[str, Any]


def claims(**changed: Any) -> Told:
    made = {"jti": "once-1", "htm": "POST", "htu": URL, "iat": NOW, "ath": dpop.token_hash(TOKEN)} | changed
    return {name: value for name, value in made.items() if value is not None}


def header(key: Any = KEY, **changed: Any) -> Told:
    made = {"typ": "dpop+jwt", "alg": "ES256", "jwk": key.as_dict(private=False)} | changed
    return {name: value for name, value in made.items() if value is not None}


def proof(key: Any = KEY, head: Told | None = None, **changed: Any) -> str:
    told = head or header(key)
    return jws.serialize_compact(told, json.dumps(claims(**changed)).encode(), key, algorithms=[told["alg"]])


def raw(head: Told, made: Any, signature: bytes = b"") -> str:
    """A token put together by hand."""
    parts = (json.dumps(head).encode(), json.dumps(made).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def hs256() -> str:
    """What takes a key that is known to all for a shared secret."""
    secret = bytes(32)
    jwk = {"kty": "oct", "k": base64.urlsafe_b64encode(secret).rstrip(b"=").decode()}
    signed = raw(header(alg="HS256", jwk=jwk), claims()).rpartition(".")[0]
    return signed + raw({}, {}, hmac.digest(secret, signed.encode(), "sha256"))[-44:]


def read(text: str, **changed: Any) -> dpop.Proof:
    return dpop.read(text, **{"method": "POST", "url": URL, "token": TOKEN, "now": NOW} | changed)


@pytest.mark.storeless
def test_the_rfcs_own_proof_for_a_token() -> None:
    url = "https://server.example.com/token"
    made = dpop.read(RFC_TOKEN_REQUEST, method="POST", url=url, token=None, now=1562262616)
    assert made == dpop.Proof(thumbprint=RFC_THUMBPRINT, jti="-BwC3ESc6acc2lTc", expires=1562262616 + 91)


@pytest.mark.storeless
def test_the_rfcs_own_proof_for_a_resource() -> None:
    url = "https://resource.example.org/protectedresource"
    made = dpop.read(RFC_RESOURCE_REQUEST, method="GET", url=url, token=RFC_TOKEN, now=1562262618)
    assert (made.thumbprint, made.jti) == (RFC_THUMBPRINT, "e1j3V_bKic8-LAEB")


@pytest.mark.storeless
def test_a_browsers_own_export_of_its_key_is_taken() -> None:
    key = ECKey.generate_key("P-384")
    jwk = key.as_dict(private=False) | {"ext": True, "key_ops": ["verify"], "alg": "ES384"}
    assert read(proof(key, header(key, alg="ES384", jwk=jwk))).thumbprint == key.thumbprint()


SAME = ["https://RECORD.example/auth/token", "HTTPS://record.example:443/auth/token", f"{URL}?a=b", f"{URL}#part"]


@pytest.mark.storeless
@pytest.mark.parametrize("htu", SAME)
def test_an_address_may_be_written_in_another_way(htu: str) -> None:
    read(proof(htu=htu))


@pytest.mark.storeless
@pytest.mark.parametrize("seconds", [-89, 30])
def test_clocks_may_differ_by_half_a_minute(seconds: int) -> None:
    read(proof(iat=NOW + seconds))


WRONG: dict[str, Callable[[], str]] = {
    "another method": lambda: proof(htm="GET"),
    "a method in small letters": lambda: proof(htm="post"),
    "no method": lambda: proof(htm=None),
    "another address": lambda: proof(htu="https://record.example/auth/token/x"),
    "another host": lambda: proof(htu="https://evil.example/auth/token"),
    "another scheme": lambda: proof(htu="http://record.example/auth/token"),
    "another port": lambda: proof(htu="https://record.example:8443/auth/token"),
    "no port": lambda: proof(htu="https://record.example:x/auth/token"),
    "an address that is a list": lambda: proof(htu=[URL]),
    "no address": lambda: proof(htu=None),
    "too old": lambda: proof(iat=NOW - 90),
    "of a time that has not come": lambda: proof(iat=NOW + 31),
    "of a time beyond all numbers": lambda: raw(header(), claims(iat=10**400)),
    "no time": lambda: proof(iat=None),
    "no name": lambda: proof(jti=None),
    "an empty name": lambda: proof(jti=""),
    "a name that is no text": lambda: proof(jti=7),
    "a name of 257 characters": lambda: proof(jti="x" * 257),
    "half of a surrogate pair in its name": lambda: proof(jti="\ud800x"),
    "another token's": lambda: proof(ath=dpop.token_hash("another")),
    "no token's": lambda: proof(ath=None),
    "another type": lambda: proof(head=header(typ="JWT")),
    "no type": lambda: proof(head=header(typ=None)),
    "no key": lambda: proof(head=header(jwk=None)),
    "a key that is none": lambda: proof(head=header(jwk={"kty": "EC"})),
    "a key off its curve": lambda: proof(head=header(jwk=KEY.as_dict(private=False) | {"x": "AAAA"})),
    "a private key": lambda: proof(head=header(jwk=KEY.as_dict(private=True))),
    "an address of keys": lambda: proof(head=header(jwk=None, jku="https://evil.example/jwks")),
    "signed by another key": lambda: proof(OTHER, header(KEY)),
    "alg none": lambda: raw(header(alg="none"), claims()),
    "alg none with a signature": lambda: raw(header(alg="none"), claims(), b"x" * 64),
    "no alg": lambda: raw(header(alg=None), claims(), b"x" * 64),
    "HS256 with a key that is told": hs256,
    "HS256 with an EC key": lambda: raw(header(alg="HS256"), claims(), b"x" * 32),
    "RS256": lambda: proof(RSA, header(RSA, alg="RS256")),
    "ES384 with a key of P-256": lambda: raw(header(alg="ES384"), claims(), b"x" * 96),
    "an unknown critical header": lambda: raw(header(crit=["x"], x=1), claims(), b"x" * 64),
    "claims that are a list": lambda: jws.serialize_compact(header(), b"[1]", KEY, algorithms=["ES256"]),
    "claims that are no JSON": lambda: jws.serialize_compact(header(), b"\xff", KEY, algorithms=["ES256"]),
    "a header of 100 MB": lambda: "x" * 100_000_000,
    "nothing": lambda: "",
    "no token at all": lambda: "a.b.c",
    "five parts": lambda: proof() + ".a.b",
    "not ASCII": lambda: "ä.ö.ü",
    "half a surrogate": lambda: "\ud800",
}


@pytest.mark.storeless
@pytest.mark.attack(41)
@pytest.mark.parametrize("forge", WRONG.values(), ids=WRONG)
def test_it_is_refused_with_one_answer(forge: Callable[[], str]) -> None:
    with pytest.raises(Refused, match=r"^invalid_dpop_proof$"):
        read(forge())


@pytest.fixture
def proofs(world: World) -> Proofs:
    return Proofs(world.store, world.ring, world.clock)


def now(world: World) -> int:
    return int(world.clock().timestamp())


def take(proofs: Proofs, text: str) -> str:
    return proofs.take(text, method="POST", url=URL, token=TOKEN)


@pytest.mark.attack(41)
@weakens("aggregator.identity.dpop", "use_once", lambda *_, **__: True)
def test_a_proof_is_taken_once_also_by_another_server_and_after_a_restart(proofs: Proofs, world: World) -> None:
    text = proof(iat=now(world))
    assert take(proofs, text) == KEY.thumbprint()
    for seconds in (0, 60, 29):
        world.clock.advance(seconds=seconds)
        with pytest.raises(Refused):
            take(Proofs(world.store, world.ring, world.clock), text)


def test_two_keys_may_use_the_same_name(proofs: Proofs, world: World) -> None:
    assert take(proofs, proof(iat=now(world))) != take(proofs, proof(OTHER, iat=now(world)))


@pytest.mark.attack(41)
def test_of_ten_at_once_one_is_taken(proofs: Proofs, world: World) -> None:
    text = proof(iat=now(world))

    def attempt(_: int) -> bool:
        try:
            take(proofs, text)
        except Refused:
            return False
        return True

    with ThreadPoolExecutor(10) as pool:
        assert sum(pool.map(attempt, range(10))) == 1


def test_what_is_too_old_to_be_taken_is_forgotten(proofs: Proofs, world: World) -> None:
    take(proofs, proof(iat=now(world) + 30))
    world.clock.advance(seconds=120)
    with world.store.read() as session:
        (kept,) = session.exec(select(UsedAssertion)).all()
    assert kept.expires > now(world)  # refused for its age from the next second on
    world.clock.advance(seconds=1)
    with pytest.raises(Refused):
        take(proofs, proof(iat=now(world) - 121 + 30))
    take(proofs, proof(iat=now(world), jti="once-2"))
    with world.store.read() as session:
        assert len(session.exec(select(UsedAssertion)).all()) == 1


@pytest.mark.attack(44)
def test_what_is_kept_of_a_proof_names_neither_it_nor_its_key(proofs: Proofs, world: World) -> None:
    take(proofs, proof(iat=now(world), jti="a-name-to-find"))
    found = world.raw()
    assert b"a-name-to-find" not in found
    assert KEY.thumbprint().encode() not in found
