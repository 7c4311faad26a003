"""A FHIR source in a few lines, for tests: answers by path, remembers what was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

import httpx
from pydantic import SecretStr

from connectors.contract import Batch, Cursor
from connectors.fhir_account import FhirAccount
from connectors.fhir_settings import FhirAccountSettings
from connectors.http import Credential, NoCredential, Source
from fhir_profiles import text

BASE = "https://klinik.example/fhir"
TOKEN = "Geheim-4711"  # a canary, searched for in messages
NOW = datetime(2026, 3, 14, 9, 26, 53, tzinfo=timezone(timedelta(hours=5, minutes=45)))
DATE = "Sat, 14 Mar 2026 03:40:00 GMT"
Answers = Callable[[httpx.Request], httpx.Response]


class Chunks(httpx.AsyncByteStream):
    """A body that comes in pieces, and counts how many were taken."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            self.taken += 1
            yield chunk


def fhir(value: Any, status: int = 200, **headers: str) -> httpx.Response:
    """An answer in FHIR JSON."""
    return httpx.Response(
        status, headers={"Content-Type": "application/fhir+json", **headers}, content=text.dumps(value)
    )


def capabilities(*types: str, system: tuple[str, ...] = ()) -> dict[str, Any]:
    """A CapabilityStatement under which these types can be searched."""
    resources = [{"type": name, "interaction": [{"code": "search-type"}, {"code": "read"}]} for name in types]
    rest = {"mode": "server", "resource": resources, "interaction": [{"code": code} for code in system]}
    return {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": [rest]}


def searchset(*resources: Any, following: str | None = None) -> dict[str, Any]:
    """A page of a search."""
    entries = [{"resource": resource} for resource in resources]
    links = [{"relation": "next", "url": following}] if following else []
    return {"resourceType": "Bundle", "type": "searchset", "link": links, "entry": entries}


def observation(local_id: str, patient: str = "erika", **more: Any) -> dict[str, Any]:
    """An Observation about a patient."""
    subject = {"reference": f"Patient/{patient}"}
    return {"resourceType": "Observation", "id": local_id, "status": "final", "subject": subject, **more}


def clinic(**answers: Answers | httpx.Response) -> Answers:
    """A clinic with one patient, `erika`, and Observations: answers by the last part of the path ("metadata", ...)."""
    usual: dict[str, Answers | httpx.Response] = {
        "metadata": lambda _: fhir(capabilities("Observation"), Date=DATE),
        "erika": lambda _: fhir({"resourceType": "Patient", "id": "erika"}),
        "Observation": lambda _: fhir(searchset()),
    }

    def answer(request: httpx.Request) -> httpx.Response:
        found = (usual | answers)[request.url.path.rpartition("/")[2]]
        return found if isinstance(found, httpx.Response) else found(request)

    return answer


def settings(**changed: Any) -> FhirAccountSettings:
    """Settings for the clinic."""
    given = {"base_url": BASE, "patient_id": "erika", "bearer_token": TOKEN, **changed}
    return FhirAccountSettings.model_validate(given)


def pull(answers: Answers, cursor: str | None = None, into: list[Batch] | None = None, **changed: Any) -> list[Batch]:
    """All batches of one pull; `into` keeps those that came before an error."""
    batches: list[Batch] = [] if into is None else into

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answers)) as client:
            connector = FhirAccount(settings(**changed), client, lambda: NOW)
            async for batch in connector.pull(None if cursor is None else Cursor(cursor)):
                batches.append(batch)

    asyncio.run(run())
    return batches


def get(
    answers: Answers, target: str = "metadata", credential: Credential | None = None, **settings_: Any
) -> tuple[bytes, list[float]]:
    """The body of one GET by a Source, and how long it paused."""
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async def run() -> bytes:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answers)) as client:
            source = Source(
                client, BASE, credential=credential or NoCredential(), clock=lambda: NOW, sleep=pause, **settings_
            )
            return (await source.get(target, {"patient": "erika"})).body

    return asyncio.run(run()), pauses


def secret(value: str) -> SecretStr:
    """Short for SecretStr."""
    return SecretStr(value)
