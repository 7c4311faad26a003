"""Parts of resources: what each `_summary` shows, what no part leaves out, and numbers as they were written."""

from __future__ import annotations

import pytest

from aggregator.fhir.subset import PARTS, SUBSETTED, Part, Summary, elements
from fhir_profiles.check import check
from fhir_profiles.text import Number, dumps, loads
from tests.fhir.world import handmade

BODY = dumps(
    {
        "resourceType": "Observation",
        "id": "k3.one",
        "meta": {"versionId": "3", "tag": [{"system": "urn:t", "code": "kept"}]},
        "language": "de",
        "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">7,20</div>'},
        "modifierExtension": [{"url": "urn:turned", "valueBoolean": True}],
        "status": "final",
        "_status": {"extension": [{"url": "urn:why", "valueString": "so"}]},
        "category": [{"text": "Labor"}],
        "code": {"text": "HbA1c", "extension": [{"url": "urn:x", "valueString": "a data type stays whole"}]},
        "valueQuantity": {"value": Number("7.20"), "unit": "%"},
        "note": [{"text": "nüchtern"}],
        "component": [{"code": {"text": "Anteil"}, "valueInteger": 1, "interpretation": [{"text": "hoch"}]}],
    }
)
MANDATORY = ["resourceType", "id", "meta", "modifierExtension", "status", "_status", "code"]

SHOWN: dict[str, tuple[Part, list[str]]] = {
    "true": (PARTS[Summary.TRUE], [*MANDATORY, "valueQuantity", "component"]),
    "text": (PARTS[Summary.TEXT], ["resourceType", "id", "meta", "text", *MANDATORY[3:]]),
    "data": (
        PARTS[Summary.DATA],
        [name for name in loads(BODY) if name != "text"],
    ),
    "elements": (elements(["note", "none"]), [*MANDATORY, "note"]),
    "a choice": (elements(["value"]), [*MANDATORY, "valueQuantity"]),
    "a form of a choice": (elements(["valueQuantity"]), [*MANDATORY, "valueQuantity"]),
}


@pytest.mark.parametrize("name", SHOWN)
def test_what_is_shown(name: str) -> None:
    part, shown = SHOWN[name]
    assert list(loads(part(BODY))) == shown


def test_a_summary_goes_into_what_is_nested() -> None:
    part = loads(PARTS[Summary.TRUE](BODY))
    assert part["component"] == [{"code": {"text": "Anteil"}, "valueInteger": 1}]
    assert part["code"] == loads(BODY)["code"]


def test_numbers_keep_their_text() -> None:
    assert b'"value":7.20' in PARTS[Summary.TRUE](BODY)


@pytest.mark.parametrize("name", SHOWN)
def test_a_part_says_that_it_is_one(name: str) -> None:
    once = SHOWN[name][0](BODY)
    assert loads(once)["meta"] == {"versionId": "3", "tag": [{"system": "urn:t", "code": "kept"}, SUBSETTED]}
    assert SHOWN[name][0](once) == once


@pytest.mark.parametrize("name", SHOWN)
def test_a_part_has_all_that_a_resource_must_have(name: str) -> None:
    """Rules over several elements (an Organization has an identifier or a name) it may break: so SUBSETTED."""
    for record in handmade():
        issues = check(loads(SHOWN[name][0](record.body)))
        assert {issue.text.partition(":")[0] for issue in issues} <= {"breaks org-1"}


def test_what_is_contained_stays_where_the_part_refers_to_it() -> None:
    contained = [
        {"resourceType": "Patient", "id": "p", "managingOrganization": {"reference": "#o"}},
        {"resourceType": "Organization", "id": "o", "name": "Labor"},
        {"resourceType": "Device", "id": "d"},
    ]
    whole = loads(BODY) | {"contained": contained, "subject": {"reference": "#p"}, "device": {"reference": "#d"}}
    assert loads(PARTS[Summary.TRUE](dumps(whole)))["contained"] == contained[:2]
    assert "contained" not in loads(PARTS[Summary.TEXT](dumps(whole)))
