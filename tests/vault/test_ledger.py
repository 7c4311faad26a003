"""The ledger: a blind writer's books, and exactly what they leak (FORMAT.md section 6)."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.errors import Stale, Tampered
from aggregator.vault import ledger, tables
from aggregator.vault.encoding import b32_all
from aggregator.vault.ledger import Ledger, Line, content
from aggregator.vault.seal import header, unwrap
from fhir_profiles.text import dumps, loads
from tests.vault.world import World
from tests.weaken import weakens
from tests.weakened import any_header

KEYS = bytes(range(64))
SOURCE = b"source account 1"


def stored(world: World, lines: dict[str, Line]) -> Ledger:
    books = Ledger(world.vault, SOURCE, KEYS, lines=dict(lines))
    with world.store.write() as session:
        ledger.save(session, books)
    return books


def load(world: World, source: bytes = SOURCE, keys: bytes = KEYS) -> Ledger:
    with world.store.read() as session:
        return ledger.load(session, world.vault, source, keys)


A, B, C = "a" * 26, "b" * 25 + "a", "c" * 25 + "a"
LINES = {
    A: Line(b"tag-of-a", "s1", 3),
    B: Line(b"tag-of-b", "s2", 1, deleted=True, attached=(b"binary-0", b"binary-1")),
}


def test_it_comes_back_as_it_was_saved(world: World) -> None:
    stored(world, LINES)
    assert load(world) == Ledger(world.vault, SOURCE, KEYS, 1, LINES)
    assert load(world).live() == {A}


def test_one_that_was_never_saved_is_empty(world: World) -> None:
    assert load(world) == Ledger(world.vault, SOURCE, KEYS, 0, {})


def test_a_second_writer_is_stale(world: World) -> None:
    stored(world, LINES)
    first, second = load(world), load(world)
    first.lines[C] = Line(b"tag-of-c", "s1", 1)
    with world.store.write() as session:
        ledger.save(session, first)
    with pytest.raises(Stale), world.store.write() as session:
        ledger.save(session, second)
    assert load(world).lines == LINES | {C: Line(b"tag-of-c", "s1", 1)}


def test_of_two_first_writers_the_second_is_stale(world: World) -> None:
    first, second = load(world), load(world)
    with world.store.write() as session:
        ledger.save(session, first)
    with pytest.raises(Stale), world.store.write() as session:
        ledger.save(session, second)
    assert load(world).revision == 1


@pytest.mark.attack(21)
@weakens("aggregator.vault.seal", "_split", any_header)
def test_other_keys_and_another_place_open_nothing(world: World) -> None:
    stored(world, LINES)
    with pytest.raises(Tampered, match="belongs to another key"):
        load(world, keys=bytes(64))
    world.sql("INSERT INTO ledger SELECT vault, x'00', revision, box FROM ledger")
    with pytest.raises(Tampered, match="stands where another belongs"):
        load(world, source=b"\0")


def test_what_the_service_writes_into_meta_is_no_content() -> None:
    resource = {"resourceType": "Basic", "id": "1", "meta": {"security": [{"code": "R"}], "versionId": "7"}}
    assert content(resource, dumps) == b'{"resourceType":"Basic","id":"1","meta":{"security":[{"code":"R"}]}}'
    later = resource | {"meta": resource["meta"] | {"versionId": "8", "lastUpdated": "now", "source": "x"}}
    assert content(later, dumps) == content(resource, dumps)
    assert content(resource | {"meta": {"security": [{"code": "N"}]}}, dumps) != content(resource, dumps)


def test_number_text_is_content() -> None:
    one, other = (content(loads(f'{{"value":{number}}}'), dumps) for number in ("0.40", "0.4"))
    assert one != other


@given(st.binary(), st.binary(), st.binary(min_size=64, max_size=64), st.binary(min_size=64, max_size=64))
def test_tags_are_equal_for_equal_content_under_one_key_alone(
    one: bytes, other: bytes, keys: bytes, others: bytes
) -> None:
    mine, theirs = Ledger("v", SOURCE, keys), Ledger("v", SOURCE, others)
    assert (mine.tag(one) == mine.tag(other)) == (one == other)
    if keys[32:] != others[32:]:
        assert mine.tag(one) != theirs.tag(one)


def test_what_a_worker_learns_is_what_the_format_says(world: World) -> None:
    """Section counts, versions and endings; and, by trying, whether exactly a guessed content is there."""
    books = Ledger(world.vault, SOURCE, KEYS)
    guessed, secret = b'{"code":"I10"}', b'{"code":"F32.1"}'
    books.lines = {A: Line(books.tag(guessed), "s1", 1), B: Line(books.tag(secret), "s2", 4, deleted=True)}
    with world.store.write() as session:
        ledger.save(session, books)
    with world.store.read() as session:
        box = session.get_one(tables.Ledger, (world.vault, SOURCE)).box
    text = unwrap(KEYS[:32], header("ledger", world.vault, name=SOURCE.hex()), box)
    ids = base64.b32decode("A" * 26 + "======") + base64.b32decode("B" * 25 + "A======")
    tags = hmac.digest(KEYS[32:], guessed, hashlib.sha256)[:8] + books.tag(secret)
    assert (
        text
        == bytes(96)
        + bytes([0, 0, 0, 2])
        + ids
        + tags
        + bytes([0, 0, 0, 2, 0, 0, 0, 9])
        + bytes([0, 1])
        + bytes(4)
        + b"s1,s2"
    )


@pytest.mark.attack(32)
@weakens("aggregator.vault.seal", "padme", lambda length: length)
def test_what_a_database_shows_is_a_padded_size(world: World) -> None:
    """Books of 203 and of 204 lines have one length at rest."""
    lengths = set()
    for count in (203, 204):
        names = b32_all(b"".join(hashlib.sha256(bytes([number])).digest()[:16] for number in range(count)))
        lines = {name: Line(name.encode()[:8], "5ec7104a5ec7104a", 1) for name in names}
        books = load(world)
        books.lines = lines
        with world.store.write() as session:
            ledger.save(session, books)
            lengths.add(len(session.get_one(tables.Ledger, (world.vault, SOURCE)).box))
    assert len(lengths) == 1
