"""Faults on purpose, in front of a clinic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from aggregator.demo.faults import EMPTY, HTML, Alter, Answer, Fault, Faulty, status
from aggregator.demo.server import serve
from tests.demo.clinic_world import loaded_clinic

_ORGANIZATIONS = "/fhir/Organization?_count=1"


@contextmanager
def _faulty(*faults: Fault) -> Iterator[httpx.Client]:
    clinic = loaded_clinic()
    clinic.access.allow("token", None)
    with (
        serve(Faulty(clinic.app(), faults)) as up,
        httpx.Client(base_url=up.url, headers={"Authorization": "Bearer token"}) as client,
    ):
        yield client


def _statuses(client: httpx.Client, path: str, times: int) -> list[int]:
    return [client.get(path).status_code for _ in range(times)]


@pytest.mark.parametrize(
    ("first", "times", "seen"),
    [(1, 1, [503, 200, 200, 200]), (2, 2, [200, 503, 503, 200]), (3, None, [200, 200, 503, 503])],
)
def test_a_fault_strikes_the_requests_it_is_meant_for(first: int, times: int | None, seen: list[int]) -> None:
    with _faulty(Fault(path=r"/Organization\?", act=status(503), first=first, times=times)) as client:
        assert _statuses(client, "/fhir/Patient", 1) == [200]
        assert _statuses(client, _ORGANIZATIONS, 4) == seen


def test_a_page_that_answers_503_once_says_when_to_come_again() -> None:
    with _faulty(Fault(path="Organization", act=status(503, retry_after=0))) as client:
        busy, well = client.get(_ORGANIZATIONS), client.get(_ORGANIZATIONS)
        assert (busy.status_code, busy.headers["Retry-After"], busy.json()["issue"][0]["code"]) == (
            503,
            "0",
            "transient",
        )
        assert "date" in busy.headers
        assert (well.status_code, well.json()["total"]) == (200, 1)


@pytest.mark.parametrize("code", [401, 403, 404, 429, 500])
def test_an_error_is_an_operation_outcome(code: int) -> None:
    with _faulty(Fault(path="", act=status(code))) as client:
        answer = client.get(_ORGANIZATIONS)
        assert (answer.status_code, answer.json()["resourceType"]) == (code, "OperationOutcome")
        assert "Retry-After" not in answer.headers


@pytest.mark.parametrize(
    ("act", "content_type", "body"),
    [
        (HTML, "text/html; charset=utf-8", HTML.body),
        (EMPTY, "application/fhir+json", b""),
        (Answer(body=b'{"resourceType":"Unheard"}'), "application/fhir+json", b'{"resourceType":"Unheard"}'),
    ],
)
def test_something_else_instead(act: Answer, content_type: str, body: bytes) -> None:
    with _faulty(Fault(path="Organization", act=act)) as client:
        answer = client.get(_ORGANIZATIONS)
        assert (answer.status_code, answer.headers["Content-Type"], answer.content) == (200, content_type, body)


def test_half_a_page() -> None:
    with _faulty(Fault(path="Organization", act=Alter.HALF, times=1)) as client:
        half, whole = client.get(_ORGANIZATIONS).content, client.get(_ORGANIZATIONS).content
        assert half == whole[: len(half)]
        assert 0 < len(half) < len(whole)


def test_the_same_page_for_ever() -> None:
    with _faulty(Fault(path=r"/Organization\?|/Practitioner\?", act=Alter.SAME, times=None)) as client:
        first = client.get(_ORGANIZATIONS)
        again = [client.get(path) for path in (_ORGANIZATIONS, "/fhir/Practitioner?_count=1")]
        assert [answer.content for answer in again] == [first.content, first.content]


def test_a_trickle_is_whole_in_the_end() -> None:
    with _faulty(Fault(path="Organization", act=Alter.TRICKLE)) as client:
        with client.stream("GET", _ORGANIZATIONS) as answer:
            parts = list(answer.iter_raw())
        assert len(parts) > 3
        assert len(b"".join(parts)) == len(client.get(_ORGANIZATIONS).content)
