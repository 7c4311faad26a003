"""The insurer: the same server, offering less."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from aggregator.demo.insurer import TYPES, Insurer
from tests.demo.clinic_world import Clock, World, bundle, running


@pytest.fixture(scope="module")
def insurer() -> Iterator[World]:
    """An insurer with two insured persons, each with a token."""
    clock = Clock()
    loaded = Insurer(clock)
    loaded.load(bundle("insured"), "insured.json")
    loaded.access.allow("v1-token", "v1")
    loaded.access.allow("v2-token", "v2")
    with running(loaded, clock) as world:
        yield world


def test_an_insured_person_reads_what_the_insurer_has_of_them(insurer: World) -> None:
    totals = {
        kind: [insurer.get(f"/fhir/{kind}", token)["total"] for token in ("v1-token", "v2-token")] for kind in TYPES
    }
    assert totals == {
        "Patient": [1, 1],
        "Coverage": [1, 0],  # the beneficiary's, not the subscriber's
        "ExplanationOfBenefit": [1, 0],
        "Organization": [1, 1],
    }
    assert b'"value":41.50,' in insurer.ask("GET", "/fhir/ExplanationOfBenefit?patient=v1", "v1-token").content


def test_it_says_that_it_can_be_read_and_searched_alone(insurer: World) -> None:
    rest = insurer.get("/fhir/metadata")["rest"][0]
    assert {kind["type"] for kind in rest["resource"]} == TYPES
    assert {code["code"] for kind in rest["resource"] for code in kind["interaction"]} == {"read", "search-type"}
    assert rest.keys() == {"mode", "resource"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/fhir", 404),
        ("POST", "/fhir/Coverage", 405),
        ("PUT", "/fhir/Coverage/c1", 405),
        ("DELETE", "/fhir/Coverage/c1", 405),
        ("GET", "/fhir/Coverage/_history", 404),
        ("GET", "/fhir/Coverage/c1/_history", 404),
        ("GET", "/fhir/Observation", 404),
        ("GET", "/fhir/.well-known/smart-configuration", 404),
        ("POST", "/auth/token", 404),
    ],
)
def test_what_it_does_not_offer_is_refused(insurer: World, method: str, path: str, status: int) -> None:
    answer = insurer.ask(method, path, content=b"{}")
    assert (answer.status_code, answer.json()["resourceType"]) == (status, "OperationOutcome")
