"""R4's expressions, compiled here, find what fhirpathpy finds: on every resource of the outside data, and on a few."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from aggregator.fhir.parameters import of_type
from aggregator.fhir.paths import leaves
from fhir_profiles.structure import RESOURCES
from tests.bench.records import DataMissing, data_folder
from tests.fhir import oracle
from tests.fhir.world import handmade

MOST = 5_000_000  # bytes of a file that is read


def found_here(name: str, resource: dict[str, Any]) -> list[Any]:
    places = of_type(resource["resourceType"])[name].places
    found = [
        value
        for place in places
        for leaf in leaves(resource["resourceType"], place.expression)
        for value in leaf.find(resource)
    ]
    only = places[0].only
    return [value for value in found if not only or oracle._names(value, only)]


def counted(values: list[Any]) -> Counter[str]:
    """Without order; a number by its value, and without extensions, which the oracle writes otherwise."""
    found = (_bare(value) for value in values)
    return Counter(json.dumps(value, sort_keys=True, default=_number) for value in found if value != {})


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _bare(child) for name, child in value.items() if name[0] != "_" and name != "extension"}
    return [_bare(child) for child in value] if isinstance(value, list) else value


def _number(value: Any) -> float:
    assert isinstance(value, Decimal)
    return float(value)


def assert_same(resource: dict[str, Any]) -> int:
    """How many parameters found something."""
    asked = 0
    for name, (kind, expression, _) in oracle.of_type(resource["resourceType"]).items():
        if kind != "composite" and name not in ("_id", "_lastUpdated"):
            here = found_here(name, resource)
            there = oracle.values(expression, resource)
            assert counted(here) == counted(there), (resource["resourceType"], name)
            asked += bool(here)
    return asked


def outside() -> Iterator[dict[str, Any]]:
    """Every resource in the data, those in Bundles too."""
    folder = data_folder()
    for path in sorted([*folder.rglob("*.json"), *folder.rglob("*.ndjson")]):
        if path.stat().st_size < MOST:
            lines = path.read_bytes().splitlines() if path.suffix == ".ndjson" else [path.read_bytes()]
            yield from (resource for line in lines for resource in _resources(line))


def _resources(text: bytes) -> Iterator[dict[str, Any]]:
    try:
        one = json.loads(text)
    except ValueError:  # broken on purpose
        return
    if isinstance(one, dict) and one.get("resourceType") in RESOURCES:
        yield one
        entries = one.get("entry", ()) if one["resourceType"] == "Bundle" else ()
        found = (entry.get("resource", {}) for entry in entries)
        yield from (resource for resource in found if resource.get("resourceType") in RESOURCES)


def test_handmade_resources() -> None:
    assert sum(assert_same(json.loads(record.body)) for record in handmade()) > 40


@pytest.mark.outside
def test_resources_from_outside() -> None:
    """Of each type the first hundred."""
    try:
        folder = data_folder()
    except DataMissing as missing:
        pytest.skip(str(missing))
    assert folder
    seen = Counter[str]()
    asked = 0
    for resource in outside():
        seen[resource["resourceType"]] += 1
        if seen[resource["resourceType"]] <= 100:
            asked += assert_same(resource)
    assert (len(seen) > 40, asked > 10_000) == (True, True)
