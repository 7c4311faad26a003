"""A Binary that was taken out of a resource is seen by whoever sees that resource, and by nobody else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aggregator.consent import decide
from aggregator.vault import view
from aggregator.vault.blob import Blob
from aggregator.vault.envelope import Put
from fhir_profiles import codes
from fhir_profiles.profiles import SECTION_SYSTEM
from fhir_profiles.text import Resource, loads
from tests.vault.world import World
from tests.weaken import weakens

BLOB = Blob(id="a2" * 13, key=bytes(32), size=70_000, sha256="00" * 32)
OTHER = Blob(id="b3" * 13, key=bytes(32), size=70_000, sha256="00" * 32)


def document(world: World, name: str, *binaries: str, **more: Any) -> Put:
    content = [{"attachment": {"url": world.reference(f"Binary/{one}")["reference"]}} for one in binaries]
    about = {"status": "current", "type": {"coding": [{"system": codes.LOINC, "code": "11490-0"}]}}
    return world.put(f"DocumentReference/{name}", about | {"content": content} | more)


def binary(world: World, name: str, parent: str | None, blob: Blob = BLOB) -> Put:
    context: Resource = {"securityContext": world.reference(f"DocumentReference/{parent}")} if parent else {}
    return replace(world.put(f"Binary/{name}", {"contentType": "application/pdf"} | context), blob=blob)


def permit_sections(world: World, *sections: str, **more: Any) -> None:
    world.permit(**{"class": [{"system": SECTION_SYSTEM, "code": section} for section in sections]}, **more)


def seen(world: World) -> set[str]:
    """The Binaries in the grantee's view, by the names of the tests."""
    image = world.open(world.grantee()).image
    names = {world.local(f"Binary/{name}"): name for name in ("b1", "b2", "b3")}
    found = image.fetch(list(image.kinds.get("Binary", ())))
    assert all(image.blob("Binary", one.local) for one in found)
    return {names[one.local] for one in found}


def urls(world: World, name: str) -> list[str]:
    record = world.open(world.grantee()).image.read("DocumentReference", world.local(f"DocumentReference/{name}"))
    assert record is not None
    return [one["attachment"]["url"] for one in loads(record.body)["content"]]


def test_it_is_seen_with_its_document(world: World) -> None:
    world.append("documents", document(world, "d1", "b1"), binary(world, "b1", "d1"))
    permit_sections(world, "documents")
    assert seen(world) == {"b1"}
    assert urls(world, "d1") == [world.reference("Binary/b1")["reference"]]
    assert world.open(world.grantee()).image.blob("Binary", world.local("Binary/b1")) == BLOB


@pytest.mark.attack(15)
@weakens("aggregator.vault.view", "_is_part", lambda *_: True)
def test_of_a_hidden_document_neither_binary_nor_address_is_seen(world: World) -> None:
    psychiatric = {"meta": {"security": [{"system": codes.ACT_CODE, "code": "PSY"}]}}
    world.append("documents", document(world, "d1", "b1", **psychiatric), binary(world, "b1", "d1"))
    world.append("documents", document(world, "d2", "b2", "b1"), binary(world, "b2", "d2", OTHER))
    permit_sections(world, "documents")
    assert seen(world) == {"b2"}
    assert urls(world, "d2") == [world.reference("Binary/b2")["reference"], "urn:masked"]


@pytest.mark.attack(15)
@weakens("aggregator.vault.view", "_is_part", lambda *_: True)
def test_one_that_its_document_does_not_point_to_is_not_seen(world: World) -> None:
    """A writer cannot hang a Binary on what is open: that one must name it."""
    world.append("documents", document(world, "d1"), binary(world, "b1", "d1"), binary(world, "b2", None, OTHER))
    permit_sections(world, "documents")
    assert seen(world) == set()


@pytest.mark.attack(15)
@weakens("aggregator.vault.view", "_is_part", lambda kept, _name, _section, one: view.part_of(one) in kept)
def test_one_in_another_section_than_its_document_is_not_seen(world: World) -> None:
    world.append("documents", document(world, "d1", "b1"))
    world.append("mental-health", binary(world, "b1", "d1"))
    permit_sections(world, "documents", "mental-health")
    assert seen(world) == set()


@pytest.mark.attack(15)
@weakens("aggregator.consent.grant", "part_of", lambda _: None)
def test_a_permit_of_documents_by_type_opens_their_parts(world: World) -> None:
    world.append("documents", document(world, "d1", "b1"), binary(world, "b1", "d1"))
    world.permit(**{"class": [{"system": decide.TYPE_SYSTEM, "code": "DocumentReference"}]})
    assert seen(world) == {"b1"}


@pytest.mark.attack(15)
@weakens("aggregator.consent.decide.Decider", "decide", lambda _self, _facts: decide.Permit(()))
def test_a_deny_of_binaries_closes_them_and_not_their_documents(world: World) -> None:
    world.append("documents", document(world, "d1", "b1"), binary(world, "b1", "d1"))
    deny = {"type": "deny", "class": [{"system": decide.TYPE_SYSTEM, "code": "Binary"}]}
    permit_sections(world, "documents", provision=[deny])
    assert seen(world) == set()
    assert urls(world, "d1") == ["urn:masked"]


def test_a_short_one_without_a_blob_follows_the_same_rule(world: World) -> None:
    short = replace(binary(world, "b1", "d1"), blob=None)
    world.append("documents", document(world, "d1", "b1"), short)
    permit_sections(world, "documents")
    image = world.open(world.grantee()).image
    assert image.read("Binary", world.local("Binary/b1")) is not None


def test_the_owner_sees_every_one(world: World) -> None:
    world.append("documents", binary(world, "b1", None))
    world.append("unsorted", binary(world, "b2", "d1", OTHER))
    image = world.open().image
    assert image.count("Binary") == 2
