"""Search finds what a naive evaluator finds (`naive`), on random records and random queries of every parameter type.

AGGREGATOR_DIFFERENTIAL says how many examples; without it there are few, for the sake of time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggregator.fhir.search import search
from fhir_profiles.text import dumps, loads
from tests.fhir import naive
from tests.fhir.world import LINKS, names, record, view_of

EXAMPLES = int(os.environ.get("AGGREGATOR_DIFFERENTIAL", "20"))
META = {"versionId": "1", "lastUpdated": "2026-11-20T03:12:44+01:00"}
Facts = dict[str, Any]


def some(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[Facts]:
    """An element with some of these members, at least one."""
    return st.fixed_dictionaries({}, optional=members).filter(bool)


def with_choice(element: st.SearchStrategy[Facts], **forms: st.SearchStrategy[Any]) -> st.SearchStrategy[Facts]:
    """The element with at most one of a choice's forms."""
    none: st.SearchStrategy[Facts] = st.just({})
    form = st.one_of(none, *(st.fixed_dictionaries({name: values}) for name, values in forms.items()))
    return st.builds(lambda one, other: {**one, **other}, element, form)


def of(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


TEXTS = ["Müller", "muller", "Mull", "Straße 1", "strasse", "ÄÖ", "a"]
CODES, SYSTEMS = ["a", "b", "c"], ["urn:s", "urn:t"]
DATES = ["2026", "2026-03", "2026-03-29", "2026-03-29T12:00", "2026-03-29T10:00:00Z", "2025-12-31", "2027-01"]
NUMBERS = ["5", "5.4", "5.40", "5.44", "5.45", "540", "0.54", "-1", "0", "54"]
URIS = ["http://e/a", "http://e/a/b", "http://e/ab", "urn:s"]
TARGETS = ["Patient/k3.p0", "Patient/k3.p1", "Patient/k3.gone", "Group/k3.p0", "https://e/fhir/Patient/9"]
UNITS: list[Facts] = [
    *({"system": naive.UCUM, "code": code, "unit": code} for code in ("mg/dL", "g/L", "mmol/L")),
    *({"unit": "mg/dl"}, {"unit": "Tabletten"}, {"system": "urn:u", "code": "mg/dL", "unit": "x"}, {}),
]

coding = some(system=of(*SYSTEMS), code=of(*CODES), display=of(*TEXTS))
concept = some(coding=st.lists(coding, min_size=1, max_size=2), text=of(*TEXTS))
identifier = some(
    system=of(*SYSTEMS),
    value=of(*CODES),
    type=st.fixed_dictionaries({"coding": of([{"system": "urn:y", "code": "MR"}]), "text": of(*TEXTS)}),
)
reference = some(reference=of(*TARGETS, "#c"), identifier=some(system=of(*SYSTEMS), value=of(*CODES)))
period = (
    some(start=of(*DATES), end=of(*DATES))
    .filter(naive._stretch)
    .filter(
        lambda found: naive._stretch(found)[0] < naive._stretch(found)[1]  # type: ignore[index]
    )
)
number = of(*(float(text) if "." in text else int(text) for text in NUMBERS))
quantity = st.builds(
    lambda value, unit, comparator: {"value": value, **unit, **({"comparator": comparator} if comparator else {})},
    number,
    of(*UNITS),
    of("", "", "", "<", ">="),
)
range_ = some(low=st.builds(lambda value: {"value": value}, number), high=st.just({"value": 600}))

RESOURCES: Mapping[str, st.SearchStrategy[Facts]] = {
    "Observation": some(
        status=of("final", "amended"),
        code=concept,
        category=st.lists(concept, min_size=1, max_size=2),
        identifier=st.lists(identifier, min_size=1, max_size=2),
        subject=reference,
        performer=st.lists(reference, min_size=1, max_size=2),
        effectiveDateTime=of(*DATES),
        valueQuantity=quantity,
        component=st.lists(
            with_choice(some(code=concept), valueQuantity=quantity, valueCodeableConcept=concept), max_size=3
        ),
    ),
    "Patient": some(
        name=st.lists(some(family=of(*TEXTS), given=of(TEXTS[:2], TEXTS[3:4])), min_size=1, max_size=2),
        telecom=st.lists(some(system=of("phone", "email"), value=of(*CODES)), min_size=1),
        address=st.lists(some(city=of(*TEXTS), line=of(TEXTS[:1])), min_size=1, max_size=1),
        birthDate=of(*DATES[:3]),
        active=st.booleans(),
        deceasedBoolean=st.booleans(),
    ),
    "Condition": with_choice(
        some(code=concept, abatementRange=range_, encounter=reference), onsetPeriod=period, onsetAge=quantity
    ),
    "RiskAssessment": some(
        prediction=st.lists(
            with_choice(some(outcome=concept), probabilityDecimal=number, probabilityRange=range_), min_size=1
        )
    ),
    "ValueSet": some(url=of(*URIS), name=of(*TEXTS), status=of("active", "draft")),
}


def prefixed(values: Sequence[str]) -> st.SearchStrategy[str]:
    return st.builds("{}{}".format, of("", "eq", "ne", "gt", "ge", "lt", "le", "sa", "eb", "ap"), of(*values))


def joined(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(values, min_size=1, max_size=2).map(",".join)


tokens = of(*CODES, *(f"{system}|{code}" for system in ("", *SYSTEMS) for code in CODES), "urn:s|")
dates, numbers = prefixed(DATES), prefixed(NUMBERS)
units = of("", f"|{naive.UCUM}|mg/dL", f"|{naive.UCUM}|g/L", "||mg/dL", "||mg/dl", "||Tabletten", "|urn:u|mg/dL")
quantities = st.builds("{}{}".format, numbers, units)
texts, uris = of(*TEXTS, "u", "x"), of(*URIS, "http://e", "http://e/a/b/c")
booleans = of("true", "false")


def asked(name: str, values: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, str]]:
    return st.tuples(st.just(name), joined(values))


def missing(*parameters: str) -> st.SearchStrategy[tuple[str, str]]:
    return st.tuples(of(*(f"{name}:missing" for name in parameters)), booleans)


def together(name: str, other: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, str]]:
    return asked(name, st.builds("{}${}".format, tokens, other))


QUERIES: Mapping[str, st.SearchStrategy[tuple[str, str]]] = {
    "Observation": st.one_of(
        *(asked(name, tokens) for name in ("code", "category", "identifier", "combo-code", "component-code")),
        *(asked(name, tokens) for name in ("code:not", "category:not", "combo-code:not", "value-concept")),
        *(asked(name, texts) for name in ("code:text", "identifier:text", "combo-code:text")),
        asked("identifier:of-type", of("urn:y|MR|a", "urn:y|MR|b", "urn:y|XX|a")),
        asked("status", of("final", "amended")),
        asked("status:not", of("final", "amended")),
        asked("subject", of(*TARGETS, "k3.p0", "k3.gone", "https://record.example/fhir/Patient/k3.p0")),
        asked("subject:Patient", of("k3.p0", "Patient/k3.p1")),
        asked("patient", of("k3.p0", "Patient/k3.p1", "https://e/fhir/Patient/9")),
        asked("performer:identifier", tokens.filter(lambda one: not one.endswith("|"))),
        asked("date", dates),
        *(asked(name, quantities) for name in ("value-quantity", "combo-value-quantity", "component-value-quantity")),
        *(together(name, quantities) for name in ("code-value-quantity", "combo-code-value-quantity")),
        together("component-code-value-quantity", quantities),
        *(together(name, tokens) for name in ("component-code-value-concept", "combo-code-value-concept")),
        missing("code", "category", "subject", "patient", "date", "value-quantity", "component-code", "performer"),
    ),
    "Patient": st.one_of(
        *(asked(name, texts) for name in ("name", "family", "given", "address", "address-city")),
        *(asked(f"name:{modifier}", texts) for modifier in ("exact", "contains")),
        *(asked(name, of(*CODES)) for name in ("phone", "email", "telecom", "telecom:not")),
        asked("birthdate", dates),
        *(st.tuples(st.just(name), booleans) for name in ("active", "deceased", "active:not")),
        missing("name", "given", "phone", "birthdate", "active"),
    ),
    "Condition": st.one_of(
        asked("code", tokens),
        asked("onset-date", dates),
        *(asked(name, quantities) for name in ("onset-age", "abatement-age")),
        missing("onset-date", "onset-age", "abatement-age", "encounter"),
    ),
    "RiskAssessment": st.one_of(asked("probability", numbers), missing("probability")),
    "ValueSet": st.one_of(
        *(asked(name, uris) for name in ("url", "url:above", "url:below")),
        asked("name", texts),
        missing("url", "name"),
    ),
}


def test_every_type_of_parameter_is_asked() -> None:
    """Those that need no table of their own here: special is Location's near alone."""
    assert set(naive.MATCHES) | {"composite", "special"} == {kind for kind, *_ in naive.oracle.definitions().values()}


@pytest.mark.parametrize("resource_type", RESOURCES)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_search_finds_what_the_naive_evaluator_finds(resource_type: str, data: st.DataObject) -> None:
    facts = data.draw(st.lists(RESOURCES[resource_type], max_size=5), "facts")
    query = data.draw(st.lists(QUERIES[resource_type], min_size=1, max_size=2), "query")
    made = [
        loads(dumps({"resourceType": resource_type, "id": f"k3.r{place}", "meta": META, **fact}))
        for place, fact in enumerate(facts)
    ]
    people = [{"resourceType": "Patient", "id": f"k3.p{place}", "meta": META} for place in range(2)]
    view = view_of(record(dumps(resource)) for resource in [*made, *people])
    found = names(loads(search(view, resource_type, [*query, ("_count", "50")], LINKS).body))
    plain = [{**fact, "resourceType": resource_type, "id": f"k3.r{place}"} for place, fact in enumerate(facts)]
    expected = [
        f"r{place}" for place, resource in enumerate(plain) if all(naive.satisfies(resource, *one) for one in query)
    ]
    assert [name for name in found if name.startswith("r")] == expected
