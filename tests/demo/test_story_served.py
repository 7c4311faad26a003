"""The stories behind their servers: a connector with the person's token finds all that was written and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import httpx
import pytest

from aggregator.consent.section_table import SectionTable
from aggregator.demo.clinic import Clinic
from aggregator.demo.fhir_server.server import FhirServer
from aggregator.demo.insurer import Insurer
from aggregator.demo.server import serve
from aggregator.demo.story import Person, clinic_bundle, insurer_bundle, people
from connectors import clinic_fhir, insurer_fhir
from connectors.contract import ConnectorSpec, Found, Item
from fhir_profiles.text import Resource

NOW = datetime(2026, 11, 21, 3, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))
SENSITIVE = {"genetics", "mental-health", "sexual-health", "substance-use"}


def clock() -> datetime:
    return NOW


def pulled(spec: ConnectorSpec[Any], base_url: str, patient_id: str) -> list[Item]:
    async def run() -> list[Item]:
        config = spec.config(base_url=base_url, patient_id=patient_id, bearer_token=f"token-{patient_id}")
        async with httpx.AsyncClient() as client:
            connector = spec.connect(config, client, clock)
            return [item async for batch in connector.pull(None) for item in batch.items]

    return asyncio.run(run())


SOURCES: list[Any] = [
    pytest.param(Clinic, clinic_fhir.SPEC, clinic_bundle, lambda person: person.clinic_id, id="clinic"),
    pytest.param(Insurer, insurer_fhir.SPEC, insurer_bundle, lambda person: person.insurer_id, id="insurer"),
]


@pytest.mark.parametrize(("source", "spec", "written", "known_as"), SOURCES)
def test_a_pull_brings_the_whole_story_and_nobody_elses(
    source: Callable[..., FhirServer],
    spec: ConnectorSpec[Any],
    written: Callable[[Person], Resource],
    known_as: Callable[[Person], str],
) -> None:
    server = source(clock)
    for person in people():
        server.load(written(person), person.id)
        server.access.allow(f"token-{known_as(person)}", known_as(person))
    with serve(server.app()) as up:
        for person in people():
            items = pulled(spec, f"{up.url}/fhir", known_as(person))
            found = {item.origin.source_id for item in items if isinstance(item, Found)}
            assert len(items) == len(found)
            assert found == {entry["request"]["url"] for entry in written(person)["entry"]}


def test_two_of_the_three_have_something_to_hide() -> None:
    assert [hidden(person) for person in people()] == [
        set(),
        {"sexual-health", "mental-health"},
        {"mental-health", "substance-use"},
    ]


def hidden(person: Person) -> set[str]:
    """The sensitive sections that hold something of the clinic or the insurer."""
    table = SectionTable.load()
    entries = [*clinic_bundle(person)["entry"], *insurer_bundle(person)["entry"]]
    return {table.section_of(entry["resource"]).section for entry in entries} & SENSITIVE
