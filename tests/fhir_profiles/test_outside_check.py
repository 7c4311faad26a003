"""Every real FHIR R4 file of ../shared/data goes through the check: what is refused, and why that is right."""

from __future__ import annotations

import copy
import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fhir_profiles.check import check
from fhir_profiles.model import NoModel, Refused, typed
from fhir_profiles.text import Resource, dumps, loads
from fhir_profiles.xml import to_json, to_xml

DATA = Path(os.environ.get("AGGREGATOR_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))

pytestmark = [
    pytest.mark.outside,
    pytest.mark.skipif(not DATA.is_dir(), reason="the test data from outside is not here (AGGREGATOR_TEST_DATA)"),
]


@dataclass(frozen=True, kw_only=True)
class Expected:
    """seen: one a file, or one an entry where `entries` is set. refused, warned: place -> (how many, why)."""

    seen: int
    refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    warned: dict[str, tuple[int, str]] = field(default_factory=dict)
    entries: bool = False


BARE = "a bare id, no Type/id: nothing that can be followed"
OPERATION = "names an operation of the e-prescription server, Task/.../$accept?ac=..., and no resource"
FAR = "its narrative shows a picture from HL7's server, as R4 allows"

TABLE: dict[str, Expected] = {
    "fhir-de/basisprofil-de-r4": Expected(seen=203),
    "fhir-de/gematik-digitale-patientenrechnung": Expected(seen=121),
    "fhir-de/gematik-epa-eml": Expected(seen=16),
    "fhir-de/gematik-erezept": Expected(
        seen=303,
        warned={
            "Task.input.valueReference": (9, BARE),
            "Task.output.valueReference": (3, BARE),
            "Communication.basedOn": (1, OPERATION),
        },
    ),
    "fhir-de/isik-basismodul": Expected(
        seen=76,
        refused={
            # CapabilityStatement-ISiKCapabilityStatementBasisServer
            "CapabilityStatement.rest.resource.extension": (
                1,
                "an extension with two values",
            ),
            # StructureDefinition-ISiKAllergieUnvertraeglichkeit
            "StructureDefinition.differential.element.short": (1, "an empty string"),
            # StructureDefinition-patient-merge-subscription
            "StructureDefinition.fhirVersion": (1, "4.3.0, which is R4B: R4's required value set ends at 4.0.1"),
        },
    ),
    "fhir-de/mii-testdata": Expected(seen=331),
    "fhir-ips": Expected(
        seen=93,
        warned={
            "ImplementationGuide.definition.resource.reference": (1, "ActorDefinition is a type of R5"),
            "StructureDefinition.text.div": (30, FAR),
        },
    ),
    "fhir-r4-official-examples": Expected(seen=89, warned={"Media.text.div": (1, FAR)}),
    "fhir-synthea/smart-generated-sample-data-r4": Expected(seen=2910, entries=True),
    # As Bundles: their conditional references are right in a transaction, and only there.
    "fhir-synthea/samply-blaze-r4": Expected(seen=18),
}

# Where fhir.resources and the check disagree: the place -> (how many, who refuses, why the check is right).
DISAGREE: dict[str, tuple[int, str, str]] = {
    "StructureDefinition.fhirVersion": (1, "check", "the models are R4B and leave required codes to others"),
}


def files(folder: str) -> Iterator[tuple[Path, Resource]]:
    for path in sorted((DATA / folder).rglob("*.json")):
        if path.name != "package.json":  # npm's own
            yield path, loads(path.read_bytes())
    for path in sorted((DATA / folder).rglob("*.xml")):
        yield path, to_json(path.read_bytes())


def resources(folder: str) -> Iterator[Resource]:
    for _, resource in files(folder):
        if TABLE[folder].entries:
            yield from (entry["resource"] for entry in resource["entry"])
        else:
            yield resource


def places(resource: Resource, severity: str) -> set[str]:
    return {re.sub(r"\[\d+\]", "", one.expression) for one in check(resource) if one.severity == severity}


def counted(folder: str, severity: str) -> dict[str, int]:
    return dict(Counter(place for resource in resources(folder) for place in places(resource, severity)))


@pytest.mark.parametrize("folder", TABLE)
def test_the_table(folder: str) -> None:
    expected = TABLE[folder]
    assert sum(1 for _ in resources(folder)) == expected.seen
    assert counted(folder, "error") == {place: count for place, (count, _) in expected.refused.items()}
    assert counted(folder, "warning") == {place: count for place, (count, _) in expected.warned.items()}


def opinion(resource: Resource) -> tuple[str, ...]:
    try:
        typed(resource)
    except NoModel:
        pytest.fail(f"no model of {resource['resourceType']}: the comparison would be silently less than it says")
    except Refused as refused:
        return tuple(f"models {place}" for place, _ in refused.faults)
    return ()


def test_the_second_opinion() -> None:
    """fhir.resources and the check refuse the same files, but for the table."""
    found: Counter[str] = Counter()
    for folder in TABLE:
        for resource in resources(folder):
            ours, theirs = places(resource, "error"), opinion(resource)
            if bool(ours) != bool(theirs):
                found.update(ours or theirs)
    assert found == {place: count for place, (count, _, _) in DISAGREE.items()}


ANYTHING = (
    *("", "x", " ", "2024-02-30", "2024-01-01T10:00:00", "http://a b", "x" * 70, "true", True, 0, -1, None),
    *({}, [], [None], [{}], {"x": 1}, ["x"], {"text": "x"}),
)


def slots(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (object or list, key or index) of a resource but its resourceType."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        if key != "resourceType":
            yield value, key
            yield from slots(value[key])


def damaged(resource: Resource, chance: random.Random) -> Resource:
    """A copy in which one thing is gone, added, or anything."""
    copied = copy.deepcopy(resource)
    node, key = chance.choice(list(slots(copied)))
    match chance.randrange(4):
        case 0:
            del node[key]
        case 1 if isinstance(node, dict):
            node["_" + key] = chance.choice(ANYTHING)
        case _:
            node[key] = chance.choice(ANYTHING)
    return copied


def test_what_the_models_refuse_the_check_refuses() -> None:
    """3,000 damaged examples. (The other way round the models are kinder, see test_model.py.)"""
    chance = random.Random(2)
    examples = [one for one in resources("fhir-r4-official-examples") if len(dumps(one)) < 6_000]
    refused = 0
    for _ in range(3_000):
        resource = damaged(chance.choice(examples), chance)
        if opinion(resource):
            refused += 1
            assert places(resource, "error"), resource
    assert refused > 1_000


def without_narrative(value: Any) -> Any:
    """XML writes a narrative's white space and quotes its own way; all else must come back as it was."""
    if isinstance(value, dict):
        return {key: without_narrative(one) for key, one in value.items() if key != "div"}
    return [without_narrative(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("folder", TABLE)
def test_xml_and_back(folder: str) -> None:
    for path, resource in files(folder):
        again = to_json(to_xml(resource))
        if path.suffix == ".xml":
            assert again == resource, path.name
        else:
            assert without_narrative(again) == without_narrative(resource), path.name
