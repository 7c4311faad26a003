"""The service as the demo's people reach it: over HTTP, like any client, with nothing but their own secrets."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey

from aggregator.consent.mandate import Person
from aggregator.errors import AggregatorError
from aggregator.identity.assertions import ASSERTION_TYPE
from fhir_profiles.text import Resource, dumps, loads

_FHIR = {"Content-Type": "application/fhir+json"}
_PAGE = 500
_ASSERTION_LIFE = timedelta(minutes=4)
_PATIENCE = 30.0  # seconds
_SCOPE = "system/*.rs"


class DemoFailed(AggregatorError):
    """The service did not do what the demo asked of it: route and status, nothing of the content."""


def new_client() -> httpx.AsyncClient:
    """A client for loopback: no proxy of the environment is asked, and a sign-up may take long."""
    return httpx.AsyncClient(timeout=_PATIENCE, trust_env=False)


@dataclass(frozen=True, slots=True)
class Door:
    """Requests to one installation."""

    client: httpx.AsyncClient
    base_url: str

    async def sign_up(self, login: str, password: str, person: Person) -> dict[str, Any]:
        """{token, patient, recovery_code ...} of a new vault."""
        told = {"family": person.family, "given": person.given, "birth_date": person.birth_date, "kvnr": person.kvnr}
        return await self._post("/auth/sign-up", {"login": login, "password": password} | told, "")

    async def prove_recovery(self, login: str, code: str) -> None:
        """Type the recovery code back."""
        await self._post("/auth/recovery-proof", {"login": login, "recovery_code": code}, "")

    async def sign_in(self, login: str, password: str) -> dict[str, Any]:
        """{token, patient ...} of an owner session."""
        return await self._post("/auth/sign-in", {"login": login, "password": password}, "")

    async def connections(self, token: str) -> list[dict[str, Any]]:
        """The patient's connections: id, source, status ..."""
        made: list[dict[str, Any]] = (await self.get("/app/connections", token))["connections"]
        return made

    async def connect(self, token: str, source: str, account: dict[str, str]) -> None:
        """Connect an account at a source."""
        await self._post("/app/connections", {"source": source, "account": account}, token)

    async def activate(self, token: str, code: str) -> None:
        """Redeem a practice's activation code."""
        await self._post("/app/activations", {"code": code}, token)

    async def sign_consent(self, token: str, consent: Resource) -> None:
        """Sign a Consent."""
        await self._post("/fhir/Consent", consent, token, _FHIR)

    async def get(self, url: str, token: str) -> Resource:
        """A GET of a path or a page link. Raises DemoFailed."""
        answer = await self.client.get(self._url(url), headers=_bearer(token))
        made: Resource = loads(self._good(answer).content)
        return made

    async def everything(self, token: str, patient: str) -> AsyncIterator[Resource]:
        """Every resource of Patient/$everything, over all pages."""
        url: str | None = f"/fhir/Patient/{patient}/$everything?_count={_PAGE}"
        while url is not None:
            page = await self.get(url, token)
            for entry in page.get("entry", []):
                yield entry["resource"]
            url = next((link["url"] for link in page["link"] if link["relation"] == "next"), None)

    async def client_token(self, client_id: str, key: ECKey, now: datetime) -> str:
        """Sign in as a SMART backend service: https://hl7.org/fhir/smart-app-launch/backend-services.html"""
        url = f"{self.base_url}/auth/token"
        claims = {
            "iss": client_id,
            "sub": client_id,
            "aud": url,
            "exp": int((now + _ASSERTION_LIFE).timestamp()),
            "jti": secrets.token_hex(16),
        }
        header = {"alg": "ES384", "typ": "JWT", "kid": key.kid}
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": jwt.encode(header, claims, key, algorithms=["ES384"]),
            "scope": _SCOPE,
        }
        token: str = loads(self._good(await self.client.post(url, data=form)).content)["access_token"]
        return token

    async def _post(
        self, path: str, told: Resource, token: str, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        sent = {"Content-Type": "application/json"} | (headers or {}) | (_bearer(token) if token else {})
        answer = self._good(await self.client.post(self._url(path), content=dumps(told), headers=sent))
        return loads(answer.content) if answer.content else {}

    def _url(self, target: str) -> str:
        return target if target.startswith(self.base_url) else f"{self.base_url}{target}"

    def _good(self, answer: httpx.Response) -> httpx.Response:
        if answer.is_success:
            return answer
        route = "/".join(answer.request.url.path.split("/")[:3])
        told = f"{answer.request.method} {route} was answered {answer.status_code}"
        raise DemoFailed(f"{told}; if this home is from an interrupted run, remove it and start again")


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
