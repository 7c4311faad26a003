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
from aggregator.vault.ledger import Ledger, Line, content
from aggregator.vault.seal import header, unwrap
from fhir_profiles.text import dumps, loads
from tests.vault.world import World

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


LINES = {"a": Line("tag-a", "s1", 3), "b": Line("tag-b", "s2", 1, deleted=True)}


def test_it_comes_back_as_it_was_saved(world: World) -> None:
    stored(world, LINES)
    assert load(world) == Ledger(world.vault, SOURCE, KEYS, 1, LINES)
    assert load(world).live() == {"a"}


def test_one_that_was_never_saved_is_empty(world: World) -> None:
    assert load(world) == Ledger(world.vault, SOURCE, KEYS, 0, {})


def test_a_second_writer_is_stale(world: World) -> None:
    stored(world, LINES)
    first, second = load(world), load(world)
    first.lines["c"] = Line("tag-c", "s1", 1)
    with world.store.write() as session:
        ledger.save(session, first)
    with pytest.raises(Stale), world.store.write() as session:
        ledger.save(session, second)
    assert load(world).lines == LINES | {"c": Line("tag-c", "s1", 1)}


def test_of_two_first_writers_the_second_is_stale(world: World) -> None:
    first, second = load(world), load(world)
    with world.store.write() as session:
        ledger.save(session, first)
    with pytest.raises(Stale), world.store.write() as session:
        ledger.save(session, second)
    assert load(world).revision == 1


@pytest.mark.attack(21)
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
    books.lines = {"a": Line(books.tag(guessed), "s1", 1), "b": Line(books.tag(secret), "s2", 4, deleted=True)}
    with world.store.write() as session:
        ledger.save(session, books)
    with world.store.read() as session:
        box = session.get_one(tables.Ledger, (world.vault, SOURCE)).box
    text = unwrap(KEYS[:32], header("ledger", world.vault, name=SOURCE.hex()), box)
    tag = base64.b32encode(hmac.digest(KEYS[32:], guessed, hashlib.sha256)[:16]).decode().rstrip("=").lower()
    assert text == f'{{"a":["{tag}","s1",1,0],"b":["{books.tag(secret)}","s2",4,1]}}'.encode()


@pytest.mark.attack(32)
def test_what_a_database_shows_is_a_padded_size(world: World) -> None:
    """Books of 205 and of 206 lines have one length at rest."""
    lengths = set()
    for count in (205, 206):
        lines = {f"{number:026}": Line(f"{number:024}", "5ec7104a5ec7104a", 1) for number in range(count)}
        books = load(world)
        books.lines = lines
        with world.store.write() as session:
            ledger.save(session, books)
            lengths.add(len(session.get_one(tables.Ledger, (world.vault, SOURCE)).box))
    assert len(lengths) == 1
