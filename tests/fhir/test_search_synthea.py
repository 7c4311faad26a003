"""What is indexed is found: on records from outside, every term of a resource leads back to it."""

from __future__ import annotations

import pytest

from aggregator.fhir.parameters import indexed
from aggregator.fhir.search import search
from fhir_profiles.text import dumps, loads
from tests.bench.records import DataMissing, records
from tests.fhir.world import INDEX, LINKS, names, record, view_of

NAMES = {one.scope: one.name for one in indexed()}
META = {"versionId": "1", "lastUpdated": "2026-11-20T03:12:44+01:00"}


def escaped(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "\\,|$" else letter for letter in text)


@pytest.mark.outside
def test_every_term_leads_back_to_its_resource() -> None:
    try:
        found = records(640)
    except DataMissing as missing:
        pytest.skip(str(missing))
    view = view_of(record(dumps({**resource, "id": f"k3.{resource['id']}", "meta": META})) for resource in found)
    asked = 0
    for resource in found[::16]:
        terms, _ = INDEX.rows(resource["resourceType"], resource)
        for scope, system, text in (term for term in terms if NAMES[term[0]] not in ("name", "family", "given")):
            value = f"{escaped(system)}{'/' if NAMES[scope] in ('patient', 'subject') else '|'}{escaped(text)}"
            query = [(NAMES[scope], value), ("_id", f"k3.{resource['id']}")]
            assert names(loads(search(view, resource["resourceType"], query, LINKS).body)) == [resource["id"]]
            asked += 1
    assert asked > 100
