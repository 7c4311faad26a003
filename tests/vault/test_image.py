"""The image gives back what went in, in its order, and refuses what it cannot hold."""

from __future__ import annotations

import sqlite3
import threading
import tracemalloc
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.vault.image import Image, Record, Tombstone, UnreadableImage, build
from aggregator.vault.index_rows import Frame, Rows, Span
from aggregator.vault.meter import Meter
from fhir_profiles.text import dumps
from tests.weaken import weakens

pytestmark = pytest.mark.storeless


class Letters:
    """Indexes the characters of a resource's text, and its year as a span."""

    version = 7

    def rows(self, resource_type: str, resource: Mapping[str, Any]) -> Rows:
        year = resource.get("year")
        spans = {(2, year, year + 1, None)} if isinstance(year, int) else set[Span]()
        return Rows(terms={(1, resource_type, letter) for letter in resource.get("text", "")}, spans=spans)


def record(resource_type: str, local: str, body: bytes = b"{}", section: str = "results") -> Record:
    return Record(
        resource_type=resource_type, local=local, version=3, updated=1_763_604_764_123, section=section, body=body
    )


def opened(*records: Record, gone: tuple[Tombstone, ...] = ()) -> Image:
    return Image.open(build(records, Letters(), gone))


def test_an_empty_image() -> None:
    image = opened()
    assert (image.count(), image.count("Patient"), image.kinds, image.sections()) == (0, 0, {}, {})
    assert image.read("Patient", "a") is None
    assert image.gone("Patient", "a") is None
    assert image.fetch([]) == []
    assert image.after("Patient", "a") == 1
    assert image.index_version == 7


def test_one_record() -> None:
    one = record("Patient", "a", '{"text":"Ärztin 👩‍⚕️"}'.encode())
    image = opened(one)
    assert image.read("Patient", "a") == one
    assert image.fetch([1]) == [one]
    assert image.select("SELECT text FROM term JOIN posting USING (tid) WHERE rid = 1 AND text = 'Ä'") == [("Ä",)]


def test_read_knows_type_and_id() -> None:
    image = opened(record("Observation", "a"), record("Patient", "b"))
    assert [image.read(*place) for place in [("Observation", "b"), ("Patient", "a"), ("Device", "a")]] == [None] * 3
    assert [image.find("Observation", "a"), image.find("Patient", "b"), image.find("Patient", "c")] == [1, 2, None]


def test_counts_by_type_and_section() -> None:
    image = opened(record("Patient", "a", section="identity"), record("Observation", "b"), record("Observation", "c"))
    assert (image.count(), image.count("Observation"), image.count("Device")) == (3, 2, 0)
    assert image.kinds == {"Observation": range(1, 3), "Patient": range(3, 4)}
    assert image.sections() == {"results": 2, "identity": 1}


def test_a_deleted_resource_leaves_its_last_version() -> None:
    gone = Tombstone(resource_type="Observation", local="x", version=4, updated=1_763_604_764_123)
    image = opened(record("Observation", "a"), gone=(gone,))
    assert image.gone("Observation", "x") == gone
    assert image.gone("Patient", "x") is None
    assert image.read("Observation", "x") is None
    assert image.count() == 1


def test_bodies_larger_than_a_block() -> None:
    bodies = [b'{"text":"%b"}' % (letter * size) for letter, size in [(b"a", 3_000_000), (b"b", 1), (b"c", 1_048_576)]]
    records = [record("Binary", f"id{number}", body) for number, body in enumerate(bodies)]
    image = opened(*records)
    assert image.fetch([3, 1, 2, 1]) == [records[2], records[0], records[1], records[0]]


def framed(resource_type: str, local: str) -> bytes:
    return f"<{resource_type}/{local} ".encode()


def test_a_stretch_is_its_bodies_in_their_frames() -> None:
    sizes = (10, 3_000_000, 700_000, 700_000, 5, 0)  # one larger than a block, two that share one
    every = [record("Patient", "a" * (at + 1), b'{"text":"%b"}' % (b"x" * size)) for at, size in enumerate(sizes)]
    image = Image.open(build(every, Letters(), frame=Frame(framed, b">")))
    texts = [framed("Patient", one.local) + one.body + b">" for one in every]
    for first in range(len(every)):
        for end in range(first + 1, len(every) + 1):
            assert b"".join(image.stretch(range(first + 1, end + 1))) == b"".join(texts[first:end])
    assert image.fetch([1, 2, 3, 4, 5, 6]) == every
    assert image.framed
    assert not opened(*every).framed


def test_what_is_read_on_and_on_is_not_held() -> None:
    every = [record("Patient", "a" * (at + 1), b'{"text":"%b"}' % (b"x" * 3_000_000)) for at in range(12)]
    data = build(every, Letters())
    image = Image.open(data)
    tracemalloc.start()
    try:
        for one in (*every, *reversed(every)):
            assert image.read("Patient", one.local) == one
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * 1024 * 1024 + 4 * 3_000_000 < 36_000_000
    assert image.size < len(data) + 17 * 1024 * 1024


def test_a_number_beyond_floats_is_no_obstacle() -> None:
    body = b'{"text":"n","value":1e999,"count":123456789012345678901234567890}'
    image = opened(record("Observation", "a", body))
    assert [found.body for found in image.fetch([1])] == [body]
    assert image.select("SELECT count(*) FROM posting") == [(1,)]


def test_two_of_one_id_are_refused() -> None:
    with pytest.raises(ValueError, match="two records have one type and id"):
        build([record("Patient", "a"), record("Observation", "a"), record("Patient", "a")], Letters())


def test_a_rid_that_is_not_there_is_refused() -> None:
    with pytest.raises(KeyError):
        opened(record("Patient", "a")).fetch([1, 2])


@pytest.mark.parametrize("data", [b"", b"PRI1", b"PRI0" + b"\0" * 12, b"SQLite format 3\0"])
def test_another_format_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableImage):
        Image.open(data)


def test_a_closed_image_answers_nothing() -> None:
    image = opened(record("Patient", "a"))
    image.close()
    with pytest.raises(sqlite3.ProgrammingError):
        image.read("Patient", "a")


def test_an_image_may_be_read_from_another_thread() -> None:
    image, found = opened(record("Patient", "a")), list[Record | None]()
    thread = threading.Thread(target=lambda: found.append(image.read("Patient", "a")))
    thread.start()
    thread.join()
    assert found == [record("Patient", "a")]


places = st.tuples(st.sampled_from(["Condition", "Observation", "Patient"]), st.text("abc27", min_size=1, max_size=3))


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(places, st.text(max_size=20)), places, st.randoms(use_true_random=False))
def test_what_goes_in_comes_out_in_one_order(
    texts: dict[tuple[str, str], str], other: tuple[str, str], random: Any
) -> None:
    """Whatever the order they come in, records lie by (type, local id), and `after` is the first place behind one."""
    records = [record(*place, dumps({"text": text, "year": 2026})) for place, text in texts.items()]
    image = opened(*records)
    assert build(random.sample(records, len(records)), Letters()) == build(records, Letters())
    ordered = sorted(records, key=lambda one: (one.resource_type, one.local))
    assert image.fetch(range(1, len(records) + 1)) == ordered
    assert [image.read(*place) for place in sorted(texts)] == ordered
    assert image.after(*other) == 1 + sum(place <= other for place in texts)


@pytest.mark.attack(20)
@weakens("aggregator.vault.image", "_NO_FILES", "PRAGMA temp_store = FILE")
def test_what_a_large_sort_sets_aside_lies_in_no_file() -> None:
    """SQLite's temporary files are named etilqs_..., and unlinked at once: only the process itself sees them."""
    seen = set[str]()

    class Watching(Meter):
        def step(self) -> bool:
            for one in Path("/proc/self/fd").iterdir():
                with suppress(FileNotFoundError):  # the listing's own
                    seen.add(str(one.readlink()))
            return super().step()

    image = opened()
    image.measure(Watching())
    numbers = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 100000)"
    image.select(f"{numbers} SELECT count(*) FROM (SELECT printf('%0200d', x) s FROM c ORDER BY s LIMIT 99999)")
    assert seen
    assert not [name for name in seen if "etilqs" in name]
