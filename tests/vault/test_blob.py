"""A blob opens where it was written, whole or in part, and nowhere else."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from aggregator.errors import Tampered
from aggregator.vault import blob, stream
from aggregator.vault.blob import Blob, read_member
from aggregator.vault.encoding import canonical, padme
from aggregator.vault.seal import header
from aggregator.vault.stream import CHUNK
from tests.weaken import weakens

pytestmark = pytest.mark.storeless

VAULT, OTHER = "aaaqeayeaudaocajbifqydiob4", "bbaqeayeaudaocajbifqydiob4"
SEALED = CHUNK + 16
SIZES = [0, 1, 15, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 17, 10 * CHUNK]


class Memory:
    """A store in a dict: what somebody who has the real one can change."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    def put(self, name: str, parts: Iterable[bytes]) -> None:
        self.held[name] = b"".join(parts)

    def read(self, name: str, start: int, end: int) -> tuple[int, Iterator[bytes]]:
        whole = self.held[name]
        return len(whole), iter([whole[start:end]])

    def delete(self, name: str) -> None:
        del self.held[name]

    def ids(self) -> Iterator[tuple[str, float]]:
        yield from ((name, 0.0) for name in self.held)

    def clean(self, before: float) -> None:
        """Nothing is ever unfinished here."""


class Unbound:
    """A cipher that leaves the associated data out."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def encrypt(self, nonce: bytes, text: bytes, _: bytes) -> bytes:
        return self._cipher.encrypt(nonce, text, None)

    def decrypt(self, nonce: bytes, text: bytes, _: bytes) -> bytes:
        return self._cipher.decrypt(nonce, text, None)


class Unchecked:
    """A cipher that takes whatever lies there."""

    def __init__(self, _: bytes) -> None:
        pass

    def encrypt(self, _nonce: bytes, text: bytes, _: bytes) -> bytes:
        return text + bytes(16)

    def decrypt(self, _nonce: bytes, text: bytes, _: bytes) -> bytes:
        return text[:-16]


def plaintext(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def written(size: int) -> tuple[Memory, Blob, bytes]:
    store, text = Memory(), plaintext(size)
    return store, blob.write(store, VAULT, [text]), text


def opened(store: Memory, made: Blob, vault: str = VAULT) -> bytes:
    return b"".join(blob.read(store, vault, made))


def chunks(store: Memory, made: Blob) -> tuple[bytes, list[bytes]]:
    """What lies before the chunks, and they."""
    whole = store.held[made.id]
    start = len(whole) - padme(made.size) - 16 * (max(padme(made.size) - 1, 0) // CHUNK + 1)
    return whole[:start], [whole[at : at + SEALED] for at in range(start, len(whole), SEALED)]


@pytest.mark.parametrize("size", SIZES)
def test_what_was_written_is_read(size: int) -> None:
    store, made, text = written(size)
    assert opened(store, made) == text
    assert (made.size, made.sha256) == (size, hashlib.sha256(text).hexdigest())
    assert len(store.held[made.id]) == blob.stored_size(VAULT, size)


@pytest.mark.parametrize("size", SIZES)
def test_a_stream_may_come_in_any_pieces(size: int) -> None:
    store, text, rest = Memory(), plaintext(size), random.Random(7)
    cuts = sorted(rest.randrange(size + 1) for _ in range(5))
    pieces = [text[low:high] for low, high in zip([0, *cuts], [*cuts, size], strict=True)]
    assert opened(store, blob.write(store, VAULT, iter(pieces))) == text


@given(st.integers(0, 3 * CHUNK + 17), st.integers(0, 3 * CHUNK + 17))
def test_any_range_opens_alone(one: int, other: int) -> None:
    store, made, text = _RANGES
    start, end = sorted((one, other))
    assert b"".join(blob.read(store, VAULT, made, start, end)) == text[start:end]


_RANGES = written(3 * CHUNK + 17)


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (5, 4), (0, 101), (101, 101)])
def test_a_range_that_is_not_in_it_is_refused(start: int, end: int) -> None:
    store, made, _ = written(100)
    with pytest.raises(ValueError, match="no such range"):
        list(blob.read(store, VAULT, made, start, end))


def test_a_piece_of_it_asks_for_no_more_than_its_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    store, made, text = written(10 * CHUNK)
    asked: list[tuple[int, int]] = []
    whole = Memory.read
    monkeypatch.setattr(Memory, "read", lambda self, *more: asked.append(more[1:]) or whole(self, *more))
    assert b"".join(blob.read(store, VAULT, made, 5 * CHUNK, 5 * CHUNK + 1)) == text[5 * CHUNK : 5 * CHUNK + 1]
    assert sum(end - start for start, end in asked) < SEALED + 200


@pytest.mark.attack(32)
@weakens("aggregator.vault.blob", "padme", lambda length: length)
def test_the_size_at_rest_tells_only_the_padded_size() -> None:
    sizes = {blob.stored_size(VAULT, size) for size in range(1_000_000, 1_030_000)}
    assert len(sizes) == 2
    store, made, _ = written(1_000_000)
    assert len(store.held[made.id]) in sizes


@pytest.mark.attack(34)
@weakens("aggregator.vault.stream", "_nonce", lambda *_: bytes(12))
@weakens("aggregator.vault.blob.os", "urandom", bytes)
def test_every_blob_has_its_own_key_and_every_chunk_its_own_nonce(monkeypatch: pytest.MonkeyPatch) -> None:
    nonces: list[bytes] = []
    whole = stream._nonce
    monkeypatch.setattr(stream, "_nonce", lambda *place: nonces.append(whole(*place)) or nonces[-1])
    keys = {written(size)[1].key for size in [3 * CHUNK] * 20}
    assert len(keys) == 20
    assert len(nonces) == 60
    assert len(set(nonces[:3])) == 3


def refused(store: Memory, made: Blob, vault: str = VAULT) -> None:
    with pytest.raises(Tampered):
        opened(store, made, vault)


@pytest.mark.attack(21)
@weakens("aggregator.vault.stream", "_nonce", lambda number, _: number.to_bytes(12, "big"))
def test_a_blob_cut_at_a_chunk_is_none_though_its_size_was_changed_too() -> None:
    store, made, _ = written(4 * CHUNK)
    head, sealed = chunks(store, made)
    store.held[made.id] = head + b"".join(sealed[:2])
    refused(store, made)
    # Whoever writes the row's size as well is stopped by the flag alone.
    refused(store, replace(made, size=2 * CHUNK))


@pytest.mark.attack(21)
@weakens("aggregator.vault.stream", "_nonce", lambda _, last: bytes(11) + bytes([last]))
def test_chunks_in_another_order_do_not_open() -> None:
    store, made, _ = written(4 * CHUNK)
    head, sealed = chunks(store, made)
    store.held[made.id] = head + b"".join((sealed[1], sealed[0], *sealed[2:]))
    refused(store, made)
    store.held[made.id] = head + b"".join((sealed[0], sealed[0], *sealed[2:]))
    refused(store, made)


@pytest.mark.attack(21)
@weakens("aggregator.vault.blob", "_header", lambda _vault, _blob: b"")
def test_a_blob_does_not_open_in_another_vault_or_under_another_id() -> None:
    store, made, _ = written(1000)
    refused(store, made, OTHER)
    other = replace(made, id="c" * 26)
    store.held[other.id] = store.held[made.id]
    refused(store, other)


@pytest.mark.attack(21)
@weakens("aggregator.vault.stream", "AESGCM", Unbound)
def test_a_header_that_was_changed_to_fit_does_not_open_the_chunks() -> None:
    """The comparison of the header is the first guard, the associated data the second."""
    store, made, _ = written(1000)
    old = canonical(header("blob", VAULT, name=made.id))
    store.held[made.id] = store.held[made.id].replace(old, canonical(header("blob", OTHER, name=made.id)))
    refused(store, made, OTHER)


@pytest.mark.attack(21)
@weakens("aggregator.vault.stream", "AESGCM", Unchecked)
@weakens("aggregator.vault.blob", "_refuse_other_length", lambda _total, _expected: None)
def test_any_change_cut_or_addition_is_noticed() -> None:
    store, made, _ = written(2 * CHUNK + 5)
    whole = store.held[made.id]
    for place in (0, 5, 30, 150, 1000, SEALED + 200, len(whole) - 1):
        store.held[made.id] = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        refused(store, made)
    for changed in (whole[:-1], whole + b"\0", whole[1:], b"", whole[:100], whole + whole):
        store.held[made.id] = changed
        refused(store, made)


@pytest.mark.attack(21)
@weakens("aggregator.vault.blob", "_refuse_other_length", lambda _total, _expected: None)
def test_a_piece_from_the_middle_is_refused_where_something_was_appended() -> None:
    store, made, text = written(4 * CHUNK)
    assert b"".join(blob.read(store, VAULT, made, CHUNK, CHUNK + 9)) == text[CHUNK : CHUNK + 9]
    store.held[made.id] += b"more"
    with pytest.raises(Tampered, match="another length"):
        list(blob.read(store, VAULT, made, CHUNK, CHUNK + 9))


@pytest.mark.attack(35)
@weakens("aggregator.vault.blob", "_head", lambda top, _key: b"PRB1" + top)
def test_another_key_is_refused_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    store, made, _ = written(100)
    monkeypatch.setattr(stream.Chunks, "open_one", lambda *_, **__: pytest.fail("the key was used"))
    with pytest.raises(Tampered, match="another key"):
        opened(store, replace(made, key=bytes(32)))


def test_a_member_is_read_as_it_was_written() -> None:
    made = written(5)[1]
    assert read_member(made.member()) == made


@pytest.mark.parametrize(
    "changed",
    [
        {"id": "../../etc/passwd"},
        {"id": "A" * 26},
        {"id": 5},
        {"key": "AAAA"},
        {"key": "not base64!"},
        {"size": -1},
        {"size": 2**60},
        {"size": True},
        {"size": "5"},
        {"sha256": "0"},
        {"more": 1},
    ],
)
def test_a_member_that_is_none_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        read_member(written(5)[1].member() | changed)


def test_a_blob_shows_no_key_when_it_is_printed() -> None:
    made = written(5)[1]
    assert repr(made.key) not in repr(made)
