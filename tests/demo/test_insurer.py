"""The insurer: the same server, offering less."""

from __future__ import annotations

import pytest

from aggregator.demo.insurer import TYPES, Insurer
from tests.demo.clinic_world import Clock, bundle, running


def _insurer(clock: Clock) -> Insurer:
    insurer = Insurer(clock)
    insurer.load(bundle("insured"), "insured.json")
    insurer.access.allow("v1-token", "v1")
    insurer.access.allow("v2-token", "v2")
    return insurer


def test_an_insured_person_reads_what_the_insurer_has_of_them() -> None:
    clock = Clock()
    with running(_insurer(clock), clock) as world:
        totals = {
            kind: [world.get(f"/fhir/{kind}", token)["total"] for token in ("v1-token", "v2-token")] for kind in TYPES
        }
        assert totals == {
            "Patient": [1, 1],
            "Coverage": [1, 0],  # the beneficiary's, not the subscriber's
            "ExplanationOfBenefit": [1, 0],
            "Organization": [1, 1],
        }
        assert b'"value":41.50,' in world.ask("GET", "/fhir/ExplanationOfBenefit?patient=v1", "v1-token").content


def test_it_says_that_it_can_be_read_and_searched_alone() -> None:
    with running(_insurer(Clock())) as world:
        rest = world.get("/fhir/metadata")["rest"][0]
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
def test_what_it_does_not_offer_is_refused(method: str, path: str, status: int) -> None:
    with running(_insurer(Clock())) as world:
        answer = world.ask(method, path, content=b"{}")
        assert (answer.status_code, answer.json()["resourceType"]) == (status, "OperationOutcome")
