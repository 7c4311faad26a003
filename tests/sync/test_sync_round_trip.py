"""What a source says comes back as it was, but for the references: HL7's examples of types that no owner writes."""

from __future__ import annotations

from typing import Any

import pytest

from aggregator.api.fhir.formats import FHIR_XML, Form, written
from aggregator.fhir.read import read
from aggregator.sync.whose import LITERAL, named
from fhir_profiles.text import Resource, loads
from fhir_profiles.xml import to_json
from tests.examples import BY_A_SOURCE, FOLDER, content, taken, without_narrative
from tests.sync.sync_world import SyncWorld, batch, patient

pytestmark = [
    pytest.mark.outside,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="HL7's examples are not here (AGGREGATOR_EXAMPLES)"),
]


def test_taken_in_and_read(syncing: SyncWorld) -> None:
    """The source's Patients that they name are the record's owner."""
    said = {name: one for name, one in taken() if one["resourceType"] in BY_A_SOURCE}
    people = {one.partition("/")[2] for resource in said.values() for one in named(resource)} or {"p1"}
    syncing.clinic.says([batch(*(patient(source_id=one) for one in people), *said.values())])
    syncing.run(syncing.connect())
    assert syncing.aside() == {}
    view = syncing.world.open()
    for name, resource in said.items():
        kind, local = resource["resourceType"], syncing.local(f"{resource['resourceType']}/{resource['id']}")
        body = read(view, kind, f"{syncing.world.vault}.{local}").body
        assert content(loads(body)) == content(here(syncing, resource, people)), name
        xml = written(body, Form(FHIR_XML, pretty=False))
        assert without_narrative(to_json(xml)) == without_narrative(loads(body)), name


def here(syncing: SyncWorld, resource: Resource, people: set[str]) -> Resource:
    """With its references as they are in the record."""
    vault, owner = syncing.world.vault, syncing.world.owner.patient

    def target(reference: Any) -> Any:
        found = LITERAL.fullmatch(reference) if isinstance(reference, str) else None
        if found is None:
            return walk(reference)
        is_owner = found[1] == "Patient" and found[2] in people
        return f"{found[1]}/{vault}.{owner if is_owner else syncing.local(f'{found[1]}/{found[2]}')}"

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            return {name: target(one) if name == "reference" else walk(one) for name, one in node.items()}
        return [walk(one) for one in node] if isinstance(node, list) else node

    made: Resource = walk(resource)
    return made
