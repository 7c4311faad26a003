"""What somebody states who registers by themselves: read, bounded, and refused with the name of what is wrong.

https://www.rfc-editor.org/rfc/rfc7591#section-2. An app asks for `authorization_code`, a provider or payer for
`client_credentials`. What is not listed here is not registered, as the RFC allows: no logo is fetched, no scope kept,
and a software statement is nobody's word that counts here. Beside the RFC: `launch_uri` of an app, `kind` and
`identifiers` (FHIR's) of a provider or payer.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aggregator.config import ClientSettings, IdentifierSettings
from aggregator.errors import OperatorError
from aggregator.identity import redirect_uris
from aggregator.identity.client_keys import key_set
from aggregator.identity.oauth_errors import OAuthError

_LONGEST_NAME, _LONGEST_TEXT, _MOST = 100, 200, 10
_APP = frozenset({"authorization_code", "refresh_token"})
_BACKEND = frozenset({"client_credentials"})
_METHODS = {True: "private_key_jwt", False: "none"}
"""Are there keys? -> how the client authenticates."""


class Unfit(OAuthError):
    """RFC 7591, 3.2.2; the message is for whoever wrote the client."""

    def __init__(self, text: str, code: str = "invalid_client_metadata") -> None:
        super().__init__(code, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What somebody says of themselves, and where to ask: nothing of it is verified."""

    settings: ClientSettings
    contacts: tuple[str, ...] = ()


def stated(metadata: Mapping[str, Any]) -> Claim:
    """The claim in a client's metadata. Raises Unfit."""
    kind = _kind(metadata)
    addresses = _addresses(metadata) if kind == "app" else []
    name = _text(metadata, "client_name", _LONGEST_NAME)
    if not likeness(name):
        raise Unfit("client_name: a name has letters")
    settings = ClientSettings(
        name=name,
        kind=kind,
        identifiers=[] if kind == "app" else _identifiers(metadata),
        redirect_uris=addresses,
        launch_uri=_address(metadata, "launch_uri") if kind == "app" else "",
        **_keys(metadata, needed=kind != "app"),
    )
    return Claim(settings=settings, contacts=tuple(_texts(metadata, "contacts")))


def metadata(settings: ClientSettings) -> dict[str, Any]:
    """What is registered, in the RFC's words."""
    app = settings.kind == "app"
    told: dict[str, Any] = {
        "client_name": settings.name,
        "grant_types": sorted(_APP if app else _BACKEND),
        "token_endpoint_auth_method": _METHODS[bool(settings.jwks or settings.jwks_uri)],
    }
    if app:
        told |= {"redirect_uris": settings.redirect_uris, "response_types": ["code"]}
    else:
        told |= {"kind": settings.kind, "identifiers": [one.model_dump() for one in settings.identifiers]}
    optional = {name: getattr(settings, name) for name in ("launch_uri", "jwks", "jwks_uri")}
    return told | {name: value for name, value in optional.items() if value}


def likeness(name: str) -> str:
    """What two names have in common that look alike: letters and digits alone, of one form and one case."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(letter for letter in folded if letter.isalnum())


def _kind(metadata: Mapping[str, Any]) -> Any:
    grants = frozenset(_texts(metadata, "grant_types", ["authorization_code"]))
    if grants == _BACKEND:
        kind = metadata.get("kind", "provider")
        if kind not in ("provider", "payer"):
            raise Unfit('kind: "provider" or "payer" is needed')
        return kind
    if "authorization_code" not in grants or not grants <= _APP:
        raise Unfit("grant_types: authorization_code, with or without refresh_token, or client_credentials alone")
    if _texts(metadata, "response_types", ["code"]) != ["code"]:
        raise Unfit("response_types: code alone is offered")
    return "app"


def _addresses(metadata: Mapping[str, Any]) -> list[str]:
    found = _texts(metadata, "redirect_uris", longest=None)
    for uri in found:
        if told := redirect_uris.fault(uri):
            raise Unfit(f"redirect_uris: one of them {told}", "invalid_redirect_uri")
    if not found:
        raise Unfit("redirect_uris: at least one is needed", "invalid_redirect_uri")
    return found


def _address(metadata: Mapping[str, Any], name: str) -> str:
    uri = metadata.get(name, "")
    if not isinstance(uri, str) or (uri and redirect_uris.fault(uri)):
        raise Unfit(f"{name}: an https address is needed")
    return uri


def _keys(metadata: Mapping[str, Any], *, needed: bool) -> dict[str, Any]:
    keys, uri = metadata.get("jwks") or {}, _address(metadata, "jwks_uri")
    if keys and uri:
        raise Unfit("jwks: it and jwks_uri exclude each other")
    if not isinstance(keys, dict):
        raise Unfit("jwks: a JWK set is needed")
    if needed and not (keys or uri):
        raise Unfit("jwks: public keys are needed, or their address as jwks_uri")
    method = metadata.get("token_endpoint_auth_method", _METHODS[bool(keys or uri)])
    if method != _METHODS[bool(keys or uri)]:
        raise Unfit("token_endpoint_auth_method: private_key_jwt with keys, none without any")
    try:
        return (
            {"jwks": {"keys": [key.as_dict(private=False) for key in key_set(keys, "jwks:")]}}
            if keys
            else {"jwks_uri": uri}
        )
    except OperatorError as error:
        raise Unfit(str(error)) from None


def _identifiers(metadata: Mapping[str, Any]) -> list[IdentifierSettings]:
    found = metadata.get("identifiers", [])
    if not isinstance(found, list) or len(found) > _MOST or not all(isinstance(one, dict) for one in found):
        raise Unfit(f"identifiers: at most {_MOST} objects with system and value")
    return [
        IdentifierSettings(system=_text(one, "system", _LONGEST_TEXT), value=_text(one, "value", _LONGEST_TEXT))
        for one in found
    ]


def _text(told: Mapping[str, Any], name: str, longest: int | None) -> str:
    return _plain(told.get(name), name, longest)


def _texts(
    told: Mapping[str, Any], name: str, otherwise: list[str] | None = None, longest: int | None = _LONGEST_TEXT
) -> list[str]:
    found = told.get(name, otherwise or [])
    if not isinstance(found, list) or len(found) > _MOST:
        raise Unfit(f"{name}: a list of at most {_MOST} is needed")
    return [_plain(one, name, longest) for one in found]


def _plain(value: object, name: str, longest: int | None) -> str:
    """Text without control characters, and without those that turn or hide what stands beside them."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise Unfit(f"{name}: printable text is needed")
    if longest and len(value) > longest:
        raise Unfit(f"{name}: at most {longest} characters")
    return value.strip()
