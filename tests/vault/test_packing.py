"""How boxes are packed: with the format's dictionary, and no more unpacked than its reader takes."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest
import zstandard

from aggregator.errors import Tampered
from aggregator.vault import packing, seal
from aggregator.vault.encoding import padme
from aggregator.vault.packing import KEPT, PASSING, Unpackable, pack, unpack
from aggregator.vault.seal import PrivateKey, canonical, expand, header, lock, unwrap, wrap
from tests.weaken import weakens

pytestmark = pytest.mark.storeless

KEY, HEAD = bytes(range(32)), header("envelope", "v", section="s", epoch=1, writer="owner", number=1)
BOMB = bytes(40 * 1024 * 1024)


@pytest.mark.parametrize("level", [PASSING, KEPT])
def test_small_things_that_everybody_says_take_little(level: int) -> None:
    text = b'{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs"}'
    assert len(pack(text, level)) < len(text) / 2 < len(zstandard.compress(text, 9))
    assert unpack(pack(text, level), len(text)) == text


def test_another_dictionary_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "DICTIONARY_SHA256", "0" * 64)
    packing._dictionary.cache_clear()
    with pytest.raises(RuntimeError, match="is not the format's"):
        pack(b"", KEPT)
    monkeypatch.undo()
    assert unpack(pack(b"", KEPT), 0) == b""


def test_the_dictionary_names_nobody() -> None:
    """Ids, handles and hashes were taken out of it."""
    text = Path(packing.__file__).with_name("dictionary.ndjson").read_text()
    assert not {word for word in text.replace('"', " ").split() if len(word) == 53 and word[26] == "."}


@pytest.mark.attack(46)
@weakens("aggregator.vault.packing.zstandard", "frame_content_size", lambda _: 0)
def test_a_box_that_claims_too_much_is_refused_before_memory_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer's envelope of a kilobyte that would unpack to 40 MB: nobody needs a secret to make one."""
    box = PrivateKey(KEY).public().seal(HEAD, BOMB)
    packed = wrap(KEY, HEAD, BOMB)
    assert max(len(box), len(packed)) < 10_000
    monkeypatch.setattr(seal, "_MOST_SEALED", 1024 * 1024)
    monkeypatch.setattr(seal, "_MOST_WRAPPED", 1024 * 1024)
    for opening in (lambda: PrivateKey(KEY).open(HEAD, box), lambda: unwrap(KEY, HEAD, packed)):
        tracemalloc.start()
        try:
            with pytest.raises(Tampered, match="was changed"):
                opening()
            assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
        finally:
            tracemalloc.stop()


@pytest.mark.attack(46)
def test_a_frame_that_does_not_say_how_long_it_is_or_lies_is_refused() -> None:
    silent = zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 100)
    for packed in (silent, b"", b"no frame", pack(b"x" * 100, KEPT)[:-3]):
        with pytest.raises(Unpackable):
            unpack(packed, 2**20)


def test_what_nobody_would_open_is_not_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "_MOST_SEALED", 10)
    with pytest.raises(ValueError, match="too long for a box"):
        PrivateKey(KEY).public().seal(HEAD, bytes(11))


@pytest.mark.attack(46)
def test_a_length_beyond_the_body_is_refused() -> None:
    body = (2**32 - 1).to_bytes(4, "big") + pack(b"x", KEPT)
    top = canonical(HEAD)
    box = b"PRW1" + len(top).to_bytes(2, "big") + top + expand(KEY, "commit")
    made = box + lock(expand(KEY, "enc"), top, body + os.urandom(padme(len(body)) - len(body)))
    assert unwrap(KEY, HEAD, made) == b"x"
    with pytest.raises(Tampered):
        unwrap(KEY, HEAD, box + lock(expand(KEY, "enc"), top, b"\0\0"))
