"""An app as its own program would be: asks in the browser, waits for the patient, fetches tokens, reads."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx

from tests.api.http_world import ASSERTION, REDIRECT, HttpWorld

SCOPE = "launch/patient openid fhirUser offline_access patient/*.rs"


@dataclass
class App:
    """One launch of an app. client: its client_id; one with a key signs assertions with it."""

    world: HttpWorld
    client: str = "app"
    scope: str = SCOPE
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    state: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    @property
    def request(self) -> dict[str, str]:
        """The parameters of a right authorization request."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return {
            "response_type": "code",
            "client_id": self.client,
            "redirect_uri": REDIRECT,
            "scope": self.scope,
            "state": self.state,
            "aud": f"{self.world.service.base_url}/fhir",
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
        }

    def authorize(self, **changed: str | None) -> httpx.Response:
        """The browser goes to the authorization endpoint. changed: parameters; None leaves one out."""
        told = {name: value for name, value in (self.request | changed).items() if value is not None}
        return self.world.http.get("/auth/authorize", params=told)

    def ask(self, **changed: str | None) -> str:
        """The handle of what is asked."""
        answer = self.authorize(**changed)
        assert answer.status_code == 302, answer.text
        place = urlsplit(answer.headers["location"])
        assert place.path == "/app/authorize", answer.headers["location"]
        return parse_qs(place.query)["request"][0]

    def approve(self, handle: str, login: str = "erika", **choice: Any) -> dict[str, str]:
        """The patient approves; what the app then finds in its address."""
        told = self.world.http.post(f"/app/authorizations/{handle}", json=choice, headers=self.world.owner(login))
        assert told.status_code == 200, told.text
        return answered(told.json()["redirect"])

    def code(self, login: str = "erika", **choice: Any) -> str:
        """From asking to the code."""
        return self.approve(self.ask(), login, **choice)["code"]

    def send(self, form: dict[str, str], **changed: str) -> httpx.Response:
        """A form to the token endpoint, with what says which app it is."""
        who = {"client_id": self.client}
        if self.client in self.world.keys:
            who |= {"client_assertion_type": ASSERTION, "client_assertion": self.world.assertion(self.client)}
        return self.world.http.post("/auth/token", data=who | form | changed)

    def redeem(self, code: str, **changed: str) -> httpx.Response:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT}
        return self.send(form | {"code_verifier": self.verifier}, **changed)

    def refresh(self, token: str, **changed: str) -> httpx.Response:
        return self.send({"grant_type": "refresh_token", "refresh_token": token}, **changed)

    def tokens(self, login: str = "erika", **choice: Any) -> dict[str, Any]:
        """From asking to tokens."""
        answer = self.redeem(self.code(login, **choice))
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told


def bearer(tokens: dict[str, Any]) -> dict[str, str]:
    """As a request's header."""
    return {"Authorization": f"Bearer {tokens['access_token']}"}


def answered(url: str) -> dict[str, str]:
    """The parameters of an answer at the app's address."""
    assert url.startswith(f"{REDIRECT}?"), url
    return dict(parse_qsl(urlsplit(url).query))
