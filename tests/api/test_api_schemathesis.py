"""No request gives a 500, and every refusal is an OperationOutcome: requests made from the table of interactions."""

from __future__ import annotations

import os

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from aggregator.api.fhir.table import TABLE
from fhir_profiles.check import check
from fhir_profiles.text import loads
from fhir_profiles.xml import to_json
from tests.api.http_world import HttpWorld
from tests.api.open_api import document

SHORT = 6
EXAMPLES = int(os.environ.get("AGGREGATOR_FUZZ", SHORT))
"""Requests to each method of each path; `make fuzz` asks for many."""


PATIENCE = 60
"""Seconds for an answer: a busy machine is no finding."""

NAMED = ("a-patient", "an-observation")
schema = schemathesis.openapi.from_dict(document(TABLE, NAMED))
for phase in (schema.config.phases.coverage, schema.config.phases.examples):
    phase.enabled = EXAMPLES > SHORT  # some hundred requests to each, of one kind


@pytest.fixture(scope="module")
def ids(shared: HttpWorld) -> dict[str, str]:
    """What the document's names stand for in this world."""
    found = shared.get("/fhir/Observation?_count=1", shared.owner()).json()["entry"][0]["resource"]["id"]
    return dict(zip(NAMED, (shared.patients["erika"], found), strict=True))


# A case is shown whole when it fails, and it may be long: what it failed by must not be hidden by that.
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@pytest.mark.timeout(300 if EXAMPLES == SHORT else 7200)
@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES == SHORT,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_no_request_gives_a_500(case: schemathesis.Case, shared: HttpWorld, ids: dict[str, str]) -> None:
    # What stands in a path is drawn too, and need not be text.
    case.path_parameters = {name: ids.get(str(value), value) for name, value in case.path_parameters.items()}
    who = shared.owner() if len(str(case.query)) % 2 else shared.token("praxis", "system/*.crs")
    answer = case.call(base_url=shared.service.base_url, headers=who, allow_redirects=False, timeout=PATIENCE)
    assert answer.status_code < 500, (answer.status_code, answer.text)
    if answer.status_code >= 400:
        read = to_json if "xml" in answer.headers["content-type"][0] else loads
        outcome = read(answer.content)
        assert outcome["resourceType"] == "OperationOutcome"
        assert [issue for issue in check(outcome) if issue.severity == "error"] == []
