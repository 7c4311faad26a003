"""The store folder of the demo, searched for what people know: it holds none of it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from aggregator.demo.story import clinic_bundle, insurer_bundle, people
from fhir_profiles import codes
from fhir_profiles.profiles import SECTIONS
from fhir_profiles.structure import RESOURCES
from tests.demo.demo_runs import Run

_SHORTEST = 6  # bytes; shorter strings occur by chance
_CODES = Path(codes.__file__).parent


def texts(node: Any) -> Iterator[str]:
    """Every string value below a node; property names are none."""
    if isinstance(node, dict):
        for child in node.values():
            yield from texts(child)
    elif isinstance(node, list):
        for child in node:
            yield from texts(child)
    elif isinstance(node, str):
        yield node


def names(node: Any) -> Iterator[str]:
    """Every property name below a node."""
    if isinstance(node, dict):
        yield from node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from names(child)


def required_codes() -> set[str]:
    sets = orjson.loads((_CODES / "required.json").read_bytes())
    return {code for systems in sets.values() for listed in systems.values() for code in listed.split()}


def people_know(run: Run) -> set[str]:
    """Values of resources, as the sources hold them and as the patients read them."""
    shown = [*run.records.values(), *map(clinic_bundle, people()), *map(insurer_bundle, people())]
    values = {text for record in shown for text in texts(record)}
    passed_over = {*RESOURCES, *required_codes()}.union(*(names(record) for record in shown))
    whole = set(run.ids) | {id_.partition(".")[0] for id_ in run.ids}
    return {value for value in values - passed_over if not any(part in value for part in whole)}


def settings(run: Run) -> set[str]:
    """What the configuration says of the sources, and their names."""
    sources = tomllib.loads(run.config)["sources"]
    return {text for source in sources.values() for text in texts(source)} | set(sources)


def pieces(value: str) -> set[bytes]:
    """A long value by its words too, so that a part of it would be found."""
    words = re.split(r"\s+", value) if len(value) > 80 else [value]
    return {word.encode() for word in words if len(word.encode()) >= _SHORTEST}


@pytest.mark.attack(20)
@pytest.mark.parametrize("name", ["first", "second"])
def test_the_store_folder_holds_nothing_that_people_know(name: str, request: pytest.FixtureRequest) -> None:
    run: Run = request.getfixturevalue(name)
    secrets = {one["password"] for one in run.addresses["patients"]} | {
        one["login"] for one in run.addresses["patients"]
    }
    wanted = people_know(run) | settings(run) | set(SECTIONS) | secrets
    found = sorted(piece for value in wanted for piece in pieces(value) if piece in run.store)
    assert len(wanted) > 1000
    assert found == []


def test_the_search_would_find_it(first: Run) -> None:
    """What lies in clear, ids of vaults, is found in the same bytes."""
    for whole in first.ids:
        assert whole.partition(".")[0].encode() in first.store
