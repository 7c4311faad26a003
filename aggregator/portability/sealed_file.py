"""One file sealed by a password, in constant memory (FORMAT-EXPORT.md section 4)."""

from __future__ import annotations

import hmac
import io
from collections.abc import Iterable, Iterator
from typing import IO, Any

import orjson
import zstandard

from aggregator.errors import CallerError, Tampered
from aggregator.identity.unlockers import DerivedKey, again
from aggregator.vault.encoding import canonical, padme
from aggregator.vault.seal import expand
from aggregator.vault.stream import CHUNK, Chunks

_MAGIC = b"PRX1"
_COMMIT = 32
_LEVEL = 9
_WINDOW = 2**23
_MOST_HEADER = 4096
_BITE = 512  # bytes unpacked at a time: four can stand for 128 KiB, so no more than 16 MiB come at once
# What unpacks to more than this many times its size is a bomb: FHIR JSON packs to a tenth, at best to a fiftieth. An
# attachment may be mostly empty, so some room is always there: it costs disk, never memory.
_MOST_TIMES, _ALWAYS = 200, 4 * 2**30


def seal(derived: DerivedKey, plaintext: Iterable[bytes]) -> Iterator[bytes]:
    """The sealed file, piece by piece. derived: from a new password; used for this one file."""
    head = {"format": 1, "kind": "export", "argon2": orjson.loads(derived.parameters)}
    top = canonical(head)
    yield _MAGIC + len(top).to_bytes(2, "big") + top + expand(derived.key, "commit", _COMMIT)
    yield from Chunks(derived.key, top, "the file").seal(_padded(_packed(plaintext)))


def unseal(file: IO[bytes], password: str) -> IO[bytes]:
    """What was sealed, to be read from beginning to end, and no more of it than the file's size allows.

    Reading raises Tampered for what is not what was sealed. Raises CallerError for another password or another file.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    top = _header(file)
    try:
        key = again(canonical(orjson.loads(top)["argon2"]).decode(), password)
    except (ValueError, KeyError, TypeError):
        raise CallerError("this is no sealed export") from None
    if not hmac.compare_digest(file.read(_COMMIT), expand(key, "commit", _COMMIT)):
        raise CallerError("the password does not open this file")
    pieces = Chunks(key, top, "the file").open(iter(lambda: file.read(CHUNK), b""))
    return io.BufferedReader(_Pieces(_unpacked(pieces, _MOST_TIMES * size + _ALWAYS)), CHUNK)


def _header(file: IO[bytes]) -> bytes:
    """Its bytes, as they are: they are what the chunks are bound to."""
    magic, length = file.read(len(_MAGIC)), int.from_bytes(file.read(2), "big")
    if magic != _MAGIC or length > _MOST_HEADER:
        raise CallerError("this is no sealed export")
    top = file.read(length)
    try:
        told = orjson.loads(top)
        if canonical(told) != top or (told["format"], told["kind"]) != (1, "export"):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise CallerError("this is no sealed export, or one of another version") from None
    return top


def _packed(plaintext: Iterable[bytes]) -> Iterator[bytes]:
    """One zstd frame."""
    parameters = zstandard.ZstdCompressionParameters.from_level(_LEVEL, window_log=_WINDOW.bit_length() - 1)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    for part in plaintext:
        if packed := packer.compress(part):
            yield packed
    yield packer.flush()


def _padded(packed: Iterable[bytes]) -> Iterator[bytes]:
    size = 0
    for part in packed:
        size += len(part)
        yield part
    missing = padme(size) - size
    for at in range(0, missing, CHUNK):
        yield bytes(min(CHUNK, missing - at))


def _unpacked(pieces: Iterator[bytes], most: int) -> Iterator[bytes]:
    """The frame's content. What follows the frame is read to its end, and must be zeros: so a cut is always noticed."""
    frame, left = zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj(), most
    for piece in pieces:
        for at in range(0, len(piece), _BITE):
            if frame.eof:
                _refuse_more(piece[at:])
                break
            text = _unpack(frame, piece[at : at + _BITE])
            left -= len(text)
            if left < 0:
                raise CallerError("this file unpacks to far more than an export of its size")
            yield text
            _refuse_more(frame.unused_data)
    if not frame.eof:
        raise Tampered("the file was changed")


def _unpack(frame: Any, packed: bytes) -> bytes:
    try:
        text: bytes = frame.decompress(packed)
    except zstandard.ZstdError:
        raise Tampered("the file was changed") from None
    return text


def _refuse_more(rest: bytes) -> None:
    if any(rest):
        raise Tampered("the file was changed")


class _Pieces(io.RawIOBase):
    """A stream in pieces of any size as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._held = pieces, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._held:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._held = piece
        number = min(len(buffer), len(self._held))
        buffer[:number], self._held = self._held[:number], self._held[number:]
        return number
