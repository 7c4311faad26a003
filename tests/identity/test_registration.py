"""What somebody states who registers by themselves: what is taken of it, and what is refused under which name."""

from __future__ import annotations

from typing import Any

import pytest
from joserfc.jwk import ECKey, KeySet

from aggregator.identity.registration import Claim, Unfit, likeness, metadata, stated

pytestmark = [pytest.mark.storeless, pytest.mark.attack(3)]

KEY = ECKey.generate_key("P-384", {"kid": "k"})
KEYS = {"keys": [KEY.as_dict(private=False)]}
APP: dict[str, Any] = {"client_name": "Tagebuch", "redirect_uris": ["https://app.example/back"]}
DOCTOR: dict[str, Any] = {
    "client_name": "Praxis Dr. B",
    "grant_types": ["client_credentials"],
    "jwks": KEYS,
    "identifiers": [{"system": "https://fhir.kbv.de/NamingSystem/KBV_NS_Base_ANR", "value": "123456701"}],
}


def test_an_app_without_keys_is_public() -> None:
    assert metadata(stated(APP).settings) == {
        "client_name": "Tagebuch",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "redirect_uris": ["https://app.example/back"],
    }


def test_an_app_with_keys_signs_with_them() -> None:
    made = stated(APP | {"jwks_uri": "https://app.example/jwks", "launch_uri": "https://app.example/launch"})
    assert metadata(made.settings) == {
        "client_name": "Tagebuch",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "private_key_jwt",
        "redirect_uris": ["https://app.example/back"],
        "launch_uri": "https://app.example/launch",
        "jwks_uri": "https://app.example/jwks",
    }


def test_a_provider_claims_its_identifiers_and_no_address() -> None:
    made = stated(DOCTOR | {"redirect_uris": ["https://b.example"], "contacts": ["b@praxis.example"]})
    assert made == Claim(settings=made.settings, contacts=("b@praxis.example",))
    assert metadata(made.settings) == {
        "client_name": "Praxis Dr. B",
        "grant_types": ["client_credentials"],
        "token_endpoint_auth_method": "private_key_jwt",
        "kind": "provider",
        "identifiers": DOCTOR["identifiers"],
        "jwks": KEYS,
    }


def test_a_payer_says_so() -> None:
    assert stated(DOCTOR | {"kind": "payer"}).settings.kind == "payer"


def test_a_claim_chooses_no_purpose_and_no_file_of_this_machine() -> None:
    made = stated(DOCTOR | {"purposes": ["BTG"], "jwks_file": "/etc/passwd", "name": "x"}).settings
    assert (made.purposes, made.jwks_file, made.name) == (["TREAT"], None, "Praxis Dr. B")


WRONG: list[tuple[dict[str, Any], str]] = [
    (APP | {"client_name": None}, "client_name"),
    (APP | {"client_name": ""}, "client_name"),
    (APP | {"client_name": " \t"}, "client_name"),
    (APP | {"client_name": "..."}, "client_name"),
    (APP | {"client_name": ["Tagebuch"]}, "client_name"),
    (APP | {"client_name": "x" * 101}, "client_name"),
    (APP | {"client_name": "Tage\nbuch"}, "client_name"),
    (APP | {"client_name": "Tage\x00buch"}, "client_name"),
    (APP | {"client_name": "\u202ehcubegaT"}, "client_name"),
    (APP | {"client_name": "Tage\u200bbuch"}, "client_name"),
    (APP | {"client_name": "Tage\ud800buch"}, "client_name"),
    (APP | {"redirect_uris": "https://app.example/back"}, "redirect_uris"),
    (APP | {"redirect_uris": [5]}, "redirect_uris"),
    (APP | {"redirect_uris": ["https://app.example/back"] * 11}, "redirect_uris"),
    (APP | {"grant_types": ["implicit"]}, "grant_types"),
    (APP | {"grant_types": ["refresh_token"]}, "grant_types"),
    (APP | {"grant_types": ["authorization_code", "client_credentials"]}, "grant_types"),
    (APP | {"grant_types": "authorization_code"}, "grant_types"),
    (APP | {"grant_types": [["authorization_code"]]}, "grant_types"),
    (APP | {"response_types": ["token"]}, "response_types"),
    (APP | {"response_types": ["code", "token"]}, "response_types"),
    (APP | {"token_endpoint_auth_method": "client_secret_basic"}, "token_endpoint_auth_method"),
    (APP | {"token_endpoint_auth_method": "private_key_jwt"}, "token_endpoint_auth_method"),
    (APP | {"jwks": KEYS, "token_endpoint_auth_method": "none"}, "token_endpoint_auth_method"),
    (APP | {"jwks": KEYS, "jwks_uri": "https://app.example/jwks"}, "jwks"),
    (APP | {"jwks": "keys"}, "jwks"),
    (APP | {"jwks": {"keys": []}}, "jwks"),
    (APP | {"jwks": KeySet([KEY]).as_dict(private=True)}, "jwks"),
    (APP | {"jwks_uri": "http://app.example/jwks"}, "jwks_uri"),
    (APP | {"jwks_uri": "file:///etc/passwd"}, "jwks_uri"),
    (APP | {"jwks_uri": 5}, "jwks_uri"),
    (APP | {"launch_uri": "javascript:alert(1)"}, "launch_uri"),
    (APP | {"contacts": "a@b"}, "contacts"),
    (APP | {"contacts": ["a\r\nb"]}, "contacts"),
    (DOCTOR | {"jwks": None}, "jwks"),
    (DOCTOR | {"kind": "app"}, "kind"),
    (DOCTOR | {"kind": ["provider"]}, "kind"),
    (DOCTOR | {"identifiers": {}}, "identifiers"),
    (DOCTOR | {"identifiers": ["x"]}, "identifiers"),
    (DOCTOR | {"identifiers": DOCTOR["identifiers"] * 11}, "identifiers"),
    (DOCTOR | {"identifiers": [{"system": "urn:x"}]}, "value"),
    (DOCTOR | {"identifiers": [{"system": "urn:x", "value": "1\n2"}]}, "value"),
]


@pytest.mark.parametrize(("told", "name"), WRONG, ids=lambda one: one if isinstance(one, str) else "")
def test_what_is_wrong_is_named(told: dict[str, Any], name: str) -> None:
    with pytest.raises(Unfit, match=f"^{name}: ") as raised:
        stated(told)
    assert str(KEY.as_dict(private=True)["d"]) not in str(raised.value)


@pytest.mark.attack(37)
@pytest.mark.parametrize(
    "uri", ["http://app.example/back", "com.example.app:/back", "https://app.example/*", "http://localhost/back", "x"]
)
def test_an_address_that_is_none_has_the_rfcs_own_error(uri: str) -> None:
    with pytest.raises(Unfit) as raised:
        stated(APP | {"redirect_uris": ["https://app.example/back", uri]})
    assert raised.value.code == "invalid_redirect_uri"
    with pytest.raises(Unfit) as raised:
        stated(APP | {"redirect_uris": []})
    assert raised.value.code == "invalid_redirect_uri"


@pytest.mark.parametrize(
    "name",
    [
        "praxis dr. b",
        "PRAXIS DR B",
        "Praxis  Dr.  B",
        "Praxis-Dr-B",
        "Ｐｒａｘｉｓ Ｄｒ． Ｂ",
        "Praxis Dr. 𝐁",
        "„Praxis Dr. B“",
    ],
)
def test_names_that_look_alike_are_alike(name: str) -> None:
    assert likeness(name) == likeness("Praxis Dr. B")


def test_names_that_do_not_are_not() -> None:
    assert len({likeness(name) for name in ("Praxis Dr. B", "Praxis Dr. C", "Praxis", "Praxis Dr. Bö")}) == 4
