"""An owner's image names the snapshot's texts, in which the bodies lie once, and follows no other snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlmodel import select

from aggregator.errors import Stale, Tampered
from aggregator.vault import part, snapshot, tables, view
from aggregator.vault.envelope import Delete, Put
from aggregator.vault.fold import Version
from aggregator.vault.image import _HEADER, Image, Outside, Record, UnreadableImage, build
from aggregator.vault.index_rows import Frame, Rows
from aggregator.vault.seal import header, unwrap
from aggregator.vault.view import View
from tests.vault.world import INDEX, World

TEXTS = {("results", 0): b'..{"a":1}.{"bb":22}', ("results", 1): b"", ("problems", 0): b'{"ccc":333}..'}


def outside() -> tuple[list[Record], Outside]:
    """Three records in the order of their ids, which is not that of their places."""
    places = {
        ("results", "c"): (2, b'{"a":1}'),
        ("results", "a"): (10, b'{"bb":22}'),
        ("problems", "b"): (19, b'{"ccc":333}'),
    }
    records = [
        Record(resource_type="Basic", local=local, version=1, updated=0, section=section, body=body)
        for (section, local), (_, body) in places.items()
    ]
    texts = [(section, part, len(text)) for (section, part), text in TEXTS.items()]
    return records, Outside(texts=texts, starts={place: start for place, (start, _) in places.items()})


def test_bodies_come_from_the_texts_each_fetched_once() -> None:
    asked = list[tuple[str, int]]()

    def fetch(section: str, part: int) -> bytes:
        asked.append((section, part))
        return TEXTS[section, part]

    records, bodies = outside()
    image = Image.open(build(records, INDEX, outside=bodies), fetch)
    assert (image.count(), asked) == (3, [])
    ordered = sorted(records, key=lambda record: record.local)
    assert [image.fetch([1, 2, 3]), image.fetch([1, 2, 3])] == [ordered, ordered]
    assert asked == [("results", 0), ("problems", 0)]


def test_no_body_is_in_the_image() -> None:
    records, bodies = outside()
    data = build(records, INDEX, outside=bodies)
    _, _, size, blocks, _ = _HEADER.unpack_from(data)
    assert (blocks, len(data)) == (0, _HEADER.size + size)
    assert b'"ccc"' not in zstandard.decompress(data[_HEADER.size :])


def test_without_the_texts_it_is_unreadable() -> None:
    records, bodies = outside()
    with pytest.raises(UnreadableImage, match="lie outside"):
        Image.open(build(records, INDEX, outside=bodies))


def test_what_fetching_raises_comes_out_of_a_read_and_a_later_read_asks_again() -> None:
    answers = [Stale("newer"), TEXTS["problems", 0]]

    def fetch(_section: str, _part: int) -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, Stale):
            raise answer
        return answer

    records, bodies = outside()
    image = Image.open(build(records, INDEX, outside=bodies), fetch)
    with pytest.raises(Stale):
        image.read("Basic", "b")
    read = image.read("Basic", "b")
    assert read is not None
    assert read.body == b'{"ccc":333}'


def rows(world: World) -> dict[tuple[str, int], bytes]:
    with world.store.read() as session:
        return {(row.section, row.part): row.box for row in session.exec(select(tables.SnapshotSection))}


def bodies(made: View) -> dict[str, bytes]:
    return {record.local: record.body for record in made.image.fetch(range(1, made.image.count() + 1))}


def told(world: World) -> dict[str, bytes]:
    return {put.local: put.resource for _, put in world.truth().state.current()}


@pytest.fixture
def grown(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A record whose results lie in several parts, with history, a tombstone and what looks like a line's end."""
    monkeypatch.setattr(part, "_FULL", 2000)
    for number in range(20):
        world.append("results", world.put(f"Observation/{number}", {"note": [{"text": '}\n,"resource":{"ä' * number}]}))
    world.append("problems", world.put("Condition/1", {"onsetString": "2019"}))
    world.append("results", world.put("Observation/3", {"note": [{"text": "amended"}]}, version=2))
    gone = world.put("Observation/4")
    world.append("results", Delete(local=gone.local, resource_type="Observation", version=2, updated=gone.updated))
    return world


def test_an_owners_bodies_are_the_truths_and_lie_once(grown: World) -> None:
    expected = told(grown)
    assert [bodies(grown.open()) for _ in range(3)] == [expected] * 3
    results = grown.owner.sections["results"]
    assert len([part for section, part in rows(grown) if section == results]) > 2
    assert told(grown) == expected
    with grown.store.read() as session:
        image = session.get_one(tables.ImageRow, (grown.vault, "owner"))
    head = header("image", grown.vault, name="owner", writer=image.built_for)
    data = unwrap(grown.owner.root.image_key(), head, image.box)
    assert _HEADER.unpack_from(data)[3] == 0


@settings(max_examples=50, deadline=None)
@given(size=st.integers(1, 5000))
def test_wherever_parts_end_no_body_is_cut(size: int) -> None:
    """Places counted while lines are written are places in what is read back."""
    resources = {f"id{n}": b'{"n":%d,"text":"%s"}' % (n, b"x" * n * 7) for n in range(30)}
    lines = {local: [_version(local, resource)] for local, resource in resources.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(part, "_FULL", size)
        parts = [("results", number, one) for number, one in enumerate(part.parts(lines.values()))]
    whole, made = b"".join(one.bodies for _, _, one in parts), snapshot._bodies(parts)
    assert sum(length for _, _, length in made.texts) == len(whole)
    for local, resource in resources.items():
        assert whole[made.starts["results", local] :].startswith(resource + b"\n")


def _version(local: str, resource: bytes) -> Version:
    put = Put(local=local, resource_type="Basic", version=1, updated="2026-11-21T20:30:00.000Z", resource=resource)
    return Version(1, "owner", put)


def test_a_view_of_an_older_snapshot_is_stale_where_it_has_not_read(grown: World) -> None:
    older = grown.open()
    known = older.image.read("Condition", grown.local("Condition/1"))
    grown.append("results", grown.put("Observation/99"))
    grown.open()
    assert older.image.read("Condition", grown.local("Condition/1")) == known
    with pytest.raises(Stale, match="newer snapshot"):
        older.image.read("Observation", grown.local("Observation/1"))


def test_an_image_of_an_older_snapshot_is_not_taken(grown: World) -> None:
    """Its position is right; the snapshot at that position was written once more."""
    first = bodies(grown.open())
    image = _image_row(grown)
    found = grown.truth()
    with grown.store.write() as session:
        snapshot.write(session, view._snapshot(found, grown.reader(), grown.owner.root))
    assert bodies(grown.open()) == first
    assert _image_row(grown).built_for != image.built_for
    with grown.store.write() as session:
        session.merge(tables.ImageRow(vault=image.vault, reader=image.reader, built_for=image.built_for, box=image.box))
    assert bodies(grown.open()) == first
    assert _image_row(grown).built_for != image.built_for


def _image_row(world: World) -> tables.ImageRow:
    with world.store.read() as session:
        return session.get_one(tables.ImageRow, (world.vault, "owner"))


class Another:
    """The search index, one version on."""

    version = INDEX.version + 1

    def frame(self, vault: str) -> Frame:
        return INDEX.frame(vault)

    def rows(self, resource_type: str, resource: Mapping[str, Any]) -> Rows:
        found = INDEX.rows(resource_type, resource)
        found.terms.add((1, "", "another"))
        return found


def test_another_index_version_costs_no_snapshot(grown: World) -> None:
    """The owner's image is built anew over the texts that there are, history, tombstone and all."""
    first, boxes = bodies(grown.open()), rows(grown)
    built_for = _image_row(grown).built_for
    made = view.open_view(grown.store, grown.vault, grown.reader(), Another(), grown.owner.root)
    assert bodies(made) == first
    assert made.image.index_version == Another.version
    assert made.image.gone("Observation", grown.local("Observation/4"))
    assert rows(grown) == boxes
    assert _image_row(grown).built_for != built_for
    made.close()


CHANGED = {
    "changed": "UPDATE snapshot_section SET box = CAST(box || x'00' AS BLOB) WHERE section = '{results}'",
    "missing": "DELETE FROM snapshot_section WHERE section = '{results}'",
}


@pytest.mark.attack(21)
@pytest.mark.parametrize("case", CHANGED)
def test_a_part_that_is_not_the_manifests_is_tampered_with(grown: World, case: str) -> None:
    """Not stale: opening again would find the same snapshot."""
    made = grown.open()
    grown.sql(CHANGED[case].format_map(grown.owner.sections))
    with pytest.raises(Tampered, match="a stored snapshot was changed"):
        bodies(made)
    with pytest.raises(Tampered, match="not the one its manifest names"):
        grown.truth()


@pytest.mark.attack(21)
def test_parts_that_changed_places_are_found(grown: World) -> None:
    made, results = grown.open(), grown.owner.sections["results"]
    boxes = rows(grown)
    for number, other in ((1, 2), (2, 1)):
        statement = "UPDATE snapshot_section SET box = ? WHERE section = ? AND part = ?"
        grown.sql(statement, boxes[results, other], results, number)
    with pytest.raises(Tampered):
        bodies(made)
    with pytest.raises(Tampered):
        grown.truth()


def test_without_the_root_the_owners_image_holds_its_bodies(grown: World) -> None:
    """No snapshot reaches as far, so there is nothing to name."""
    expected = told(grown)
    made = grown.open(grown.reader())
    assert bodies(made) == expected
    assert rows(grown) == {}
