"""Clients as the operator registers them: who each is, its keys, and where an app lives.

https://hl7.org/fhir/smart-app-launch/client-confidential-asymmetric.html#registering-a-client-communicating-public-keys
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from aggregator.config import ClientSettings
from aggregator.consent.decide import Party, PartyKind
from aggregator.errors import OperatorError
from aggregator.identity import redirect_uris
from aggregator.vault.key_service import PERSON
from fhir_profiles.codes import RECORD


@dataclass(frozen=True, slots=True)
class Client:
    """A registered party: its settings, its keys (none: a public client), and how Consents name it."""

    id: str
    settings: ClientSettings
    keys: KeySet | None
    party: Party

    @property
    def is_app(self) -> bool:
        """Does it come by a patient's approval, and never by itself?"""
        return self.party.kind is PartyKind.APP


def register(settings: Mapping[str, ClientSettings]) -> dict[str, Client]:
    """The configured clients. Raises OperatorError for what cannot be used."""
    return {name: _client(name, one) for name, one in settings.items()}


def _client(name: str, settings: ClientSettings) -> Client:
    if name.startswith(PERSON) or any(one.system == RECORD for one in settings.identifiers):
        raise OperatorError(
            f"clients.{name}: named like a person with a record here; choose another name or identifier"
        )
    for wrong, told in _RULES:
        if wrong(settings):
            raise OperatorError(f"clients.{name}.{told}")
    for at, uri in enumerate([*settings.redirect_uris, *filter(None, [settings.launch_uri])]):
        if told := redirect_uris.fault(uri):
            field = f"redirect_uris.{at}" if at < len(settings.redirect_uris) else "launch_uri"
            raise OperatorError(f"clients.{name}.{field}: {told}")
    identifiers = frozenset((one.system, one.value) for one in settings.identifiers)
    return Client(name, settings, _keys(name, settings), Party(name, identifiers, PartyKind(settings.kind)))


def _sources(settings: ClientSettings) -> int:
    return sum(map(bool, (settings.jwks_file, settings.jwks)))


_RULES: tuple[tuple[Callable[[ClientSettings], bool], str], ...] = (
    (
        lambda one: one.kind == "app" and not one.redirect_uris,
        "redirect_uris: where the app is sent back to; name at least one address",
    ),
    (
        lambda one: one.kind != "app" and bool(one.redirect_uris or one.launch_uri),
        'redirect_uris: only an app has an address; take it away, or set kind = "app"',
    ),
    (
        lambda one: one.kind != "app" and not _sources(one),
        "jwks_file: its public keys are needed; only an app may have none",
    ),
    (lambda one: _sources(one) > 1, "jwks_file: it and jwks are both set; keep one"),
)
"""What no client may be, and what is told then."""


def _keys(name: str, settings: ClientSettings) -> KeySet | None:
    if settings.jwks:
        return key_set(settings.jwks, f"clients.{name}.jwks: the setting")
    if settings.jwks_file is None:
        return None
    place = f"clients.{name}.jwks_file: {settings.jwks_file}"
    if not settings.jwks_file.is_file():
        raise OperatorError(f"{place} is not there; write the client's public keys there")
    try:
        told = orjson.loads(settings.jwks_file.read_bytes())
    except (OSError, ValueError):
        told = None
    return key_set(told, place)


def key_set(told: Any, place: str) -> KeySet:
    """A JWK set of public keys. place: what the message begins with. Raises OperatorError."""
    try:
        keys = KeySet.import_key_set(told)
    except (ValueError, KeyError, TypeError, JoseError):
        raise OperatorError(f"{place} is no JWK set; write the client's public keys there") from None
    if any(key.is_private for key in keys.keys):
        raise OperatorError(f"{place} holds a private key; only public ones go there")
    return keys
