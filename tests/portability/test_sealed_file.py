"""One file under a password: opens whole or not at all, in memory that does not grow with it."""

from __future__ import annotations

import io
import json
import random
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from aggregator.errors import CallerError, Tampered
from aggregator.identity import unlockers
from aggregator.identity.unlockers import Argon2Parameters, DerivedKey, derive
from aggregator.portability import sealed_file
from aggregator.vault.encoding import canonical
from aggregator.vault.stream import CHUNK, TAG
from tests.weaken import weakens

VECTORS = Path(__file__).parent / "vectors" / "sealed.json"
PASSWORD = "ein langes neues Passwort"
TEXT = random.Random(5).randbytes(5 * CHUNK + 17)


@cache
def derived() -> DerivedKey:
    return derive(PASSWORD)


def sealed(*parts: bytes, key: DerivedKey | None = None) -> bytes:
    return b"".join(sealed_file.seal(key or derived(), parts))


def opened(file: bytes, password: str = PASSWORD) -> bytes:
    return sealed_file.unseal(io.BytesIO(file), password).read()


@pytest.mark.parametrize("text", [b"", b"a", bytes(CHUNK), TEXT, b"x" * 1_000_000])
def test_what_was_sealed_opens(text: bytes) -> None:
    assert opened(sealed(text)) == text
    assert opened(sealed(*(text[at : at + 1000] for at in range(0, len(text), 1000)))) == text


def test_another_password_and_another_file_are_refused() -> None:
    with pytest.raises(CallerError, match="password does not open"):
        opened(sealed(TEXT), PASSWORD + "!")
    for other in (b"", b"PRX1", b"PK\3\4" + bytes(100), sealed(TEXT)[:40], TEXT):
        with pytest.raises(CallerError, match="no sealed export"):
            opened(other)


def _start(file: bytes) -> int:
    """Where the chunks begin."""
    return 6 + int.from_bytes(file[4:6], "big") + 32


@pytest.mark.attack(21, 46)
def test_a_file_that_was_cut_does_not_open() -> None:
    file = sealed(TEXT)
    for end in (len(file) - 1, _start(file) + CHUNK + TAG, _start(file) + 3 * (CHUNK + TAG), _start(file)):
        with pytest.raises(Tampered):
            opened(file[:end])
    with pytest.raises(Tampered):
        opened(file + bytes(1))


@pytest.mark.attack(21)
def test_chunks_in_another_order_or_changed_do_not_open() -> None:
    file = sealed(TEXT)
    start, one = _start(file), CHUNK + TAG
    swapped = file[:start] + file[start + one : start + 2 * one] + file[start : start + one] + file[start + 2 * one :]
    changed = bytearray(file)
    changed[start + one + 5] ^= 1
    for other in (swapped, bytes(changed)):
        with pytest.raises(Tampered):
            opened(other)


@pytest.mark.attack(34, 35)
@weakens("aggregator.identity.unlockers.Argon2Parameters", "acceptable", lambda _: True)
@pytest.mark.parametrize("changed", [{"memory_kib": 8192}, {"iterations": 1}, {"lanes": 1}, {"iterations": 13}])
def test_a_header_that_asks_for_less_or_far_too_much_is_refused(changed: dict[str, int]) -> None:
    told = json.loads(derived().parameters) | changed
    cost = Argon2Parameters(**{name: value for name, value in told.items() if name != "salt"})
    key = unlockers._argon2(PASSWORD, bytes.fromhex(told["salt"]), cost)
    with pytest.raises(Tampered, match="floor"):
        opened(sealed(TEXT, key=DerivedKey(canonical(told).decode(), key)))


@pytest.mark.attack(35)
def test_another_key_is_told_before_anything_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    file = sealed(TEXT, key=DerivedKey(derived().parameters, bytes(32)))
    monkeypatch.setattr("aggregator.vault.stream.Chunks.open_one", lambda *_, **__: pytest.fail("the key was used"))
    with pytest.raises(CallerError, match="password"):
        opened(file)


@pytest.mark.attack(46)
@weakens("aggregator.portability.sealed_file", "_MOST_TIMES", 2**40)
def test_a_bomb_is_refused_in_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_file, "_ALWAYS", 2**26)
    file = sealed(*(bytes(2**20) for _ in range(300)))
    assert len(file) < 100_000
    with traced() as high:
        stream = sealed_file.unseal(io.BytesIO(file), PASSWORD)
        with pytest.raises(CallerError, match="unpacks to far more"):
            deque(iter(lambda: stream.read(CHUNK), b""), maxlen=0)
        assert high() < 128 * 2**20


@contextmanager
def traced() -> Iterator[Callable[[], int]]:
    """What gives the most bytes that were in use since."""
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.attack(46)
def test_what_follows_the_frame_must_be_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    second = zstandard.compress(b"a second record")
    monkeypatch.setattr(sealed_file, "_padded", lambda packed: _followed(packed, second))
    with pytest.raises(Tampered):
        opened(sealed(TEXT))


def _followed(packed: Iterable[bytes], more: bytes) -> Iterable[bytes]:
    yield from packed
    yield more


@pytest.mark.attack(20)
def test_it_tells_its_size_only_roughly() -> None:
    sizes = {len(sealed(random.Random(size).randbytes(1_000_000 + size))) for size in range(0, 16_000, 2000)}
    assert len(sizes) <= 2


def test_memory_does_not_grow_with_it() -> None:
    piece = random.Random(9).randbytes(2**20)

    def parts(number: int) -> Iterable[bytes]:
        return (piece for _ in range(number))

    def peak(number: int) -> int:
        with traced() as high:
            deque(sealed_file.seal(derived(), parts(number)), maxlen=0)
            return high()

    assert peak(40) < peak(4) + 2**21


def _expand(key: bytes, label: bytes) -> bytes:
    return HKDFExpand(SHA256(), 32, b"PRA1/" + label).derive(key)


@pytest.mark.usefixtures("real_argon2")
def test_a_stranger_opens_the_vector_by_the_document_alone() -> None:
    told = json.loads(VECTORS.read_text())
    file = bytes.fromhex(told["file"])
    length = int.from_bytes(file[4:6], "big")
    top, rest = file[6 : 6 + length], file[6 + length :]
    cost = json.loads(top)["argon2"]
    key = Argon2id(
        salt=bytes.fromhex(cost["salt"]),
        length=32,
        iterations=cost["iterations"],
        lanes=cost["lanes"],
        memory_cost=cost["memory_kib"],
    ).derive(told["password"].encode())
    assert rest[:32] == _expand(key, b"commit")
    sealed_chunks, cipher, packed = rest[32:], AESGCM(_expand(key, b"chunk")), b""
    pieces = [sealed_chunks[at : at + 65552] for at in range(0, len(sealed_chunks), 65552)]
    for number, piece in enumerate(pieces):
        nonce = number.to_bytes(11, "big") + bytes([number == len(pieces) - 1])
        packed += cipher.decrypt(nonce, piece, top)
    assert zstandard.ZstdDecompressor().decompressobj().decompress(packed).decode() == told["plaintext"]
    assert opened(file, told["password"]).decode() == told["plaintext"]


@pytest.mark.usefixtures("real_argon2")
@pytest.mark.parametrize("change", ["password", "header", "commit", "chunk", "end"])
def test_the_vector_does_not_open_when_changed(change: str) -> None:
    told = json.loads(VECTORS.read_text())
    file, password = bytearray.fromhex(told["file"]), told["password"]
    length = int.from_bytes(file[4:6], "big")
    places = {"header": 10, "commit": 6 + length, "chunk": 6 + length + 32, "end": len(file) - 1}
    if change == "password":
        password += "."
    else:
        file[places[change]] ^= 1
    with pytest.raises((CallerError, Tampered)):
        opened(bytes(file), password)
