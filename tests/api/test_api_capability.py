"""The CapabilityStatement is true: every claim is walked against the running service, and every route is a claim."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any
from urllib.parse import urlencode

import pytest

from aggregator.api import oauth_table
from aggregator.api.fhir.interaction import Interaction, Operation
from aggregator.api.fhir.table import TABLE, statement
from aggregator.fhir import include
from aggregator.fhir.chain import targets
from aggregator.fhir.parameters import Kind, Parameter, of_type
from aggregator.fhir.refused import REFUSED
from aggregator.fhir.search_types import TYPES
from fhir_profiles.check import check
from fhir_profiles.text import Resource, loads
from tests.api.app_world import App
from tests.api.http_world import HttpWorld

STATEMENT = loads(statement("https://record.example/fhir"))
REST = STATEMENT["rest"][0]
RESOURCES: dict[str, Resource] = {one["type"]: one for one in REST["resource"]}
SAMPLES = {
    "token": "http://example.org|a",
    "string": "a",
    "date": "ge2024-02",
    "number": "5.40",
    "quantity": "5.40|http://unitsofmeasure.org|mg",
    "uri": "urn:oid:1.2",
    "special": "52.5|13.4|10|km",
}
MODIFIED = {"missing": "true", "of-type": "http://example.org|MR|a", "identifier": "a|b"}
OF_IDENTIFIERS = ("Patient", "identifier")
NOT_HERE = "there is nothing here that answers this"


def claimed(one: Interaction | Operation) -> Iterator[bool]:
    """Does the statement say it, for each type that has it?"""
    places = [RESOURCES[name] for name in one.types] or [REST]
    for place in places:
        if isinstance(one, Operation):
            yield {"name": one.name, "definition": one.definition} in place.get("operation", ())
        else:
            yield one.code in [said["code"] for said in place["interaction"]]


def test_every_interaction_and_operation_is_claimed() -> None:
    """The router knows no other."""
    unclaimed = [one for one in TABLE if not all(claimed(one))]
    for one in unclaimed:  # what the standard has no place for, and what an operation leads to
        assert one.code == "capabilities" if isinstance(one, Interaction) else one.name in _operations(), one


def _operations() -> set[str]:
    return {said["name"] for one in RESOURCES.values() for said in one.get("operation", ())}


def test_the_statement_is_what_is_served(shared: HttpWorld) -> None:
    told = loads(shared.http.get("/fhir/metadata").content)
    assert told == loads(statement(f"{shared.service.base_url}/fhir"))
    assert check(told) == ()
    for mode, status in (("full", 200), ("normative", 200), ("terminology", 400), ("", 400)):
        assert shared.http.get(f"/fhir/metadata?mode={mode}").status_code == status
    for media_type in STATEMENT["format"]:
        assert shared.http.get("/fhir/metadata", headers={"Accept": media_type}).headers["content-type"] == media_type


@pytest.mark.parametrize("one", TABLE, ids=lambda one: f"{one.method} {one.path}")
def test_every_interaction_and_operation_answers(shared: HttpWorld, one: Interaction | Operation) -> None:
    names = sorted(one.types)
    for name in {*names[:1], *names[len(names) // 2 : len(names) // 2 + 1], *names[-1:]} or {"Patient"}:
        path = one.path.replace(":fhir_type", "").replace(":fhir_id", "")
        said = defaultdict(lambda: "1", resource_type=name, whole_id=shared.patients["erika"])
        filled = path.format_map(said)
        answer = shared.http.request(one.method, f"/fhir{filled}", headers=shared.owner())
        assert answer.status_code not in (405, 501), answer.text
        assert answer.status_code < 500, answer.text
        assert NOT_HERE not in answer.text, filled


def test_every_search_parameter_is_one(shared: HttpWorld) -> None:
    for name, one in RESOURCES.items():
        for some in _batches(one["searchParam"], 40):
            query = [(said["name"], _sample(shared, of_type(name)[said["name"]])) for said in some]
            _ask(shared, name, query)


def _sample(shared: HttpWorld, one: Parameter) -> str:
    patient = shared.patients["erika"]
    if one.groups:
        return "$".join(_sample(shared, component) for component in one.groups[0])
    if one.kind is Kind.REFERENCE:
        named = targets(one)
        return f"{'Patient' if 'Patient' in named or not named else named[0]}/{patient}"
    return patient if one.name == "_id" else SAMPLES[one.kind]


def test_every_modifier_is_one(shared: HttpWorld) -> None:
    parameters = {said["type"]: (name, said["name"]) for name, one in RESOURCES.items() for said in one["searchParam"]}
    for kind, one in TYPES.items():
        for modifier in one.modifiers:
            assert f"`:{modifier}`" in REST["documentation"]
            name, parameter = OF_IDENTIFIERS if modifier == "of-type" else parameters[kind]
            _ask(shared, name, [(f"{parameter}:{modifier}", MODIFIED.get(modifier, SAMPLES.get(kind, "")))])


def test_every_include_is_one(shared: HttpWorld) -> None:
    for number, (name, one) in enumerate(RESOURCES.items()):
        query = [("_include", value) for value in one.get("searchInclude", ())]
        query += [("_revinclude", value) for value in one.get("searchRevInclude", ())]
        assert len(include.parse(query)) == len(query)
        for some in _batches(query, 100) if not number % 12 else ():
            _ask(shared, name, some)


def _ask(shared: HttpWorld, name: str, query: Iterable[tuple[str, str]]) -> Any:
    caller = shared.owner() | {"Prefer": "handling=strict"}
    answer = shared.get(f"/fhir/{name}?{urlencode(list(query))}", caller)
    assert answer.status_code == 200, (name, answer.text)


def test_what_is_no_claim_is_refused_and_what_is_not_there_is_named(shared: HttpWorld) -> None:
    strict = shared.owner() | {"Prefer": "handling=strict"}
    assert shared.get("/fhir/Observation?nothing=a", strict).status_code == 400
    assert shared.get("/fhir/Observation?_include=Observation:code", strict).status_code == 400
    for name, reason in REFUSED.items():
        answer = shared.get(f"/fhir/Observation?{name}=a", shared.owner())
        assert (answer.status_code, reason in answer.text) == (400, True), name
        assert f"`{name}`: {reason}" in REST["documentation"]


def test_the_compartment_is_one(shared: HttpWorld) -> None:
    assert REST["compartment"] == ["http://hl7.org/fhir/CompartmentDefinition/patient"]
    answer = shared.get(f"/fhir/Patient/{shared.patients['erika']}/Observation", shared.owner())
    assert answer.json()["total"] == 3


def test_what_smart_says_is_there(shared: HttpWorld) -> None:
    told = shared.http.get("/fhir/.well-known/smart-configuration").json()
    for name in oauth_table.ENDPOINTS.keys() - {"jwks_uri", "authorization_endpoint"}:
        assert shared.http.post(told[name]).status_code in (400, 401, 415), name
    assert shared.http.get(told["authorization_endpoint"]).status_code == 400
    assert shared.http.get(told["jwks_uri"]).json()["keys"]
    for scope in told["scopes_supported"]:
        if scope.startswith("system/"):
            assert shared.token("praxis", scope)
        else:
            launch = {"launch": _launch(shared)} if scope == "launch" else {}
            assert App(shared, scope=f"{scope} patient/*.rs").ask(**launch)
    for path in oauth_table.DOCUMENTS:
        assert shared.http.get(path).json() == told
    extension = REST["security"]["extension"][0]
    assert extension["url"] == oauth_table.OAUTH_URIS
    stated = {one["valueUri"].removeprefix("https://record.example") for one in extension["extension"]}
    assert stated < set(oauth_table.ENDPOINTS.values())


def _launch(world: HttpWorld) -> str:
    told = world.http.post("/app/launches", json={"client_id": "app"}, headers=world.owner()).json()
    return str(told["launch"])


def _batches(found: Iterable[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(found)
    while some := list(islice(rest, size)):
        yield some
