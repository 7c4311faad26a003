"""A stream opens from beginning to end, or tells that it is not what was sealed."""

from __future__ import annotations

import random

import pytest

from aggregator.errors import Tampered
from aggregator.vault.stream import CHUNK, TAG, Chunks
from tests.weaken import weakens

pytestmark = pytest.mark.storeless

KEY, TOP, ONE = bytes(range(32)), b"header", CHUNK + TAG
TEXT = random.Random(4).randbytes(3 * CHUNK + 5)


def chunks(key: bytes = KEY, top: bytes = TOP) -> Chunks:
    return Chunks(key, top, "the stream")


def sealed(text: bytes = TEXT) -> bytes:
    return b"".join(chunks().seal([text]))


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, len(TEXT)])
def test_in_pieces_of_any_size_it_opens(size: int) -> None:
    file = sealed(TEXT[:size])
    for piece in (1000, ONE, len(file)):
        parts = [file[at : at + piece] for at in range(0, len(file), piece)]
        assert b"".join(chunks().open(parts)) == TEXT[:size]


@pytest.mark.attack(21)
@weakens("aggregator.vault.stream", "_nonce", lambda number, _: number.to_bytes(12, "big"))
def test_a_stream_cut_behind_a_chunk_is_no_whole_one() -> None:
    with pytest.raises(Tampered, match="the stream was changed"):
        list(chunks().open([sealed()[:ONE]]))


@pytest.mark.attack(21)
@weakens("aggregator.vault.stream", "_nonce", lambda _, last: bytes(11) + bytes([last]))
def test_chunks_in_another_order_do_not_open() -> None:
    file = sealed()
    with pytest.raises(Tampered):
        list(chunks().open([file[ONE : 2 * ONE], file[:ONE], file[2 * ONE :]]))


@pytest.mark.attack(21)
def test_under_another_key_or_header_it_does_not_open() -> None:
    for other in (chunks(key=bytes(32)), chunks(top=b"other")):
        with pytest.raises(Tampered):
            list(other.open([sealed()]))
