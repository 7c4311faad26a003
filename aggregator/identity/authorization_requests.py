"""An app's authorization request, checked before a patient sees it: parameters in, a request or an error out.

https://www.rfc-editor.org/rfc/rfc6749#section-4.1.1 with https://www.rfc-editor.org/rfc/rfc9700 and
https://hl7.org/fhir/smart-app-launch/app-launch.html: the redirect URI is compared as text, PKCE is S256 alone, `aud`
is this FHIR server, `state` is there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from aggregator.identity import app_scopes, redirect_uris
from aggregator.identity.app_scopes import Asked
from aggregator.identity.client_registry import Client
from aggregator.identity.oauth_errors import NoRedirect, OAuthError

_HASH = re.compile(r"[A-Za-z0-9_-]{43}")
_LONGEST = 2000  # characters of state and nonce together, which the row and the answer repeat


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What stands in a request's row.

    launch: the vault of the patient whose session it was launched from, or "". key: the thumbprint of the one key that
    its code is for (DPoP), or "".
    """

    client: str
    redirect_uri: str
    state: str
    scope: str
    challenge: str
    nonce: str = ""
    launch: str = ""
    key: str = ""

    @property
    def asked(self) -> Asked:
        return app_scopes.read(self.scope)


Pairs = Sequence[tuple[str, str]]


def client_of(pairs: Pairs, clients: Mapping[str, Client]) -> Client:
    """The app that asks, at an address of its own. Raises NoRedirect: there is no other place to tell it."""
    found = [value for name, value in pairs if name == "client_id"]
    addresses = [value for name, value in pairs if name == "redirect_uri"]
    client = clients.get(found[0]) if len(found) == 1 else None
    known = client is not None and client.is_app and len(addresses) == 1
    if client is None or not known or not redirect_uris.matches(client.settings.redirect_uris, addresses[0]):
        raise NoRedirect
    return client


def checked(pairs: Pairs, audience: str, launched: Callable[[str], str]) -> Request:
    """The request of an app that `client_of` found. audience: the URL of this FHIR server.

    launched: from a launch token to the vault. Raises OAuthError, and what `launched` raises.
    """
    if any(count > 1 for count in Counter(name for name, _ in pairs).values()):
        raise OAuthError("invalid_request", "a parameter stands there twice")
    told = dict(pairs)
    for wrong, code, description in _RULES:
        if wrong(told):
            raise OAuthError(code, description)
    if not _is_here(told, audience):
        raise OAuthError("invalid_request", "aud must be the URL of this FHIR server")
    asked = app_scopes.read(told.get("scope", ""))
    if not asked.reading:
        raise OAuthError("invalid_scope", "there is no scope to read, such as patient/Observation.rs")
    launching = app_scopes.LAUNCH in asked.plain
    if launching != ("launch" in told):
        raise OAuthError("invalid_request", "the scope launch and the parameter launch belong together")
    return Request(
        client=told["client_id"],
        redirect_uri=told["redirect_uri"],
        state=told["state"],
        scope=told["scope"],
        challenge=told["code_challenge"],
        nonce=told.get("nonce", ""),
        key=told.get("dpop_jkt", ""),
        launch=launched(told["launch"]) if launching else "",
    )


def _is_here(told: Mapping[str, str], audience: str) -> bool:
    """Does the app mean this server, and no other that only calls itself so?"""
    return told.get("aud", "").rstrip("/") == audience


_RULES: tuple[tuple[Callable[[Mapping[str, str]], bool], str, str], ...] = (
    (lambda told: "request" in told, "request_not_supported", "request objects are not supported"),
    (lambda told: "request_uri" in told, "request_uri_not_supported", "only a pushed request has a request_uri"),
    (lambda told: told.get("response_type") != "code", "unsupported_response_type", "response_type must be code"),
    (lambda told: told.get("response_mode", "query") != "query", "invalid_request", "response_mode must be query"),
    (lambda told: not told.get("state"), "invalid_request", "state is needed"),
    (
        lambda told: len(told.get("state", "") + told.get("nonce", "")) > _LONGEST,
        "invalid_request",
        f"state and nonce have at most {_LONGEST} characters together",
    ),
    (
        lambda told: told.get("code_challenge_method") != "S256",
        "invalid_request",
        "PKCE is needed: code_challenge_method must be S256",
    ),
    (
        lambda told: not _HASH.fullmatch(told.get("code_challenge", "")),
        "invalid_request",
        "PKCE is needed: code_challenge must be a SHA-256 in base64url, without padding",
    ),
    (
        lambda told: "dpop_jkt" in told and not _HASH.fullmatch(told["dpop_jkt"]),
        "invalid_request",
        "dpop_jkt must be a key's thumbprint: a SHA-256 in base64url, without padding",
    ),
    (
        lambda told: told.get("prompt") == "none",
        "interaction_required",
        "a patient must approve; it cannot happen unseen",
    ),
)
"""What no request may be, and how OAuth says so."""
