"""Which clients can be registered, and what is told of those that cannot."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, KeySet

from aggregator.config import ClientSettings
from aggregator.consent.decide import PartyKind
from aggregator.errors import OperatorError
from aggregator.identity import client_registry
from aggregator.identity.client_keys import FetchedKeys
from aggregator.identity.client_registry import Client
from connectors.contract import utc_now
from fhir_profiles.codes import PARTY_CLASS, RECORD

pytestmark = pytest.mark.storeless

KEY = ECKey.generate_key("P-384", {"kid": "ec-1"})
KEYS = {"keys": [KEY.as_dict(private=False)]}
BACK = "https://app.example/back"


def settings(**told: Any) -> ClientSettings:
    return ClientSettings.model_validate({"name": "Praxis B"} | told)


CLASS = (PARTY_CLASS, "provider")


def register(told: dict[str, ClientSettings]) -> dict[str, Client]:
    return client_registry.register(told, lambda _: b"", utc_now)


def test_a_client_is_named_by_its_identifiers() -> None:
    (client,) = register({"b": settings(jwks=KEYS, identifiers=[{"system": "urn:x", "value": "1"}])}).values()
    assert (client.id, client.party.id, client.party.identifiers) == ("b", "b", frozenset({("urn:x", "1"), CLASS}))
    assert not client.is_app


def test_keys_come_from_a_file_or_stand_in_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(KEYS))
    for told in ({"jwks_file": file}, {"jwks": KEYS}):
        (client,) = register({"b": settings(**told)}).values()
        assert client.keys is not None
        assert [key.kid for key in client.keys.having("ec-1").keys] == ["ec-1"]


def test_or_are_fetched_when_they_are_needed() -> None:
    (client,) = register({"b": settings(jwks_uri="https://praxis.example/jwks.json")}).values()
    assert isinstance(client.keys, FetchedKeys)


def test_an_app_may_have_no_keys() -> None:
    (client,) = register({"a": settings(kind="app", redirect_uris=[BACK], launch_uri=BACK)}).values()
    assert (client.is_app, client.keys, client.party.kind) == (True, None, PartyKind.APP)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({}, "clients.b.jwks_file: its public keys are needed; only an app may have none"),
        ({"kind": "app"}, "clients.b.redirect_uris: where the app is sent back to; name at least one address"),
        (
            {"jwks": KEYS, "redirect_uris": [BACK]},
            'clients.b.redirect_uris: only an app has an address; take it away, or set kind = "app"',
        ),
        ({"jwks": KEYS, "launch_uri": BACK}, "clients.b.redirect_uris: only an app has an address"),
        (
            {"jwks": KEYS, "jwks_file": "x"},
            "clients.b.jwks_file: more than one of it, jwks and jwks_uri is set; keep one",
        ),
        ({"jwks_uri": "http://praxis.example"}, "clients.b.jwks_uri: must be https, or http to 127.0.0.1 or [::1]"),
        (
            {"kind": "app", "redirect_uris": [BACK, "http://app.example"]},
            "clients.b.redirect_uris.1: must be https, or http to 127.0.0.1 or [::1]",
        ),
        (
            {"kind": "app", "redirect_uris": [BACK], "launch_uri": "http://app.example"},
            "clients.b.launch_uri: must be https, or http to 127.0.0.1 or [::1]",
        ),
        ({"jwks": {"keys": 5}}, "clients.b.jwks: the setting is no JWK set; write the client's public keys there"),
        (
            {"jwks": KEYS, "identifiers": [{"system": RECORD, "value": "x"}]},
            "clients.b: named like a person with a record here; choose another name or identifier",
        ),
    ],
)
def test_what_is_wrong_is_told_with_the_settings_name(told: dict[str, Any], message: str) -> None:
    with pytest.raises(OperatorError, match=f"^{re.escape(message)}"):
        register({"b": settings(**told)})


@pytest.mark.attack(8)
def test_a_private_key_is_not_registered(tmp_path: Path) -> None:
    private = KeySet([KEY]).as_dict(private=True)
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(private))
    for told in ({"jwks_file": file}, {"jwks": private}):
        with pytest.raises(OperatorError, match=r"^clients.b.jwks.* holds a private key") as raised:
            register({"b": settings(**told)})
        assert str(KEY.as_dict(private=True)["d"]) not in str(raised.value)


@pytest.mark.parametrize("text", [None, "", "{}", "[]", '{"keys": [{"kty": "none"}]}', "no JSON"])
def test_a_key_file_that_is_none_stops_the_start_with_the_settings_name(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "jwks.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(
        OperatorError, match=r"^clients.b.jwks_file: .* (is no JWK set|is not there); write the client's public"
    ):
        register({"b": settings(jwks_file=file)})
