"""Answers under /fhir, packed as `Accept-Encoding` permits: zstd, br or gzip (RFC 9110, section 12.5.3).

Packed are FHIR and NDJSON from 1 KiB on; what is smaller, a part of something (206), or an attachment (mostly packed
already) stays as it is. A streamed answer is packed as it passes, piece by piece. The ETag is weak, so it names every
coding of the same version.

BREACH (https://breachattack.com) guesses a secret from the sizes of packed answers that hold it beside what the
attacker had a victim's browser ask for. It has no hold here: a request under /fhir carries its token in
`Authorization`, never in a cookie, so no foreign page can have a browser send one; no answer here repeats a token; and
a page link is sealed anew, under a fresh nonce, in each. What answers with tokens or to a browser (/auth, /app, pages)
is never packed.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Protocol

import brotli
import zstandard
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Scope, Send

_SMALLEST = 1024
_INLINE = 64 * 1024  # bytes; more at once is packed in a thread
_TYPES = ("application/fhir+json", "application/fhir+xml", "application/fhir+ndjson", "application/ndjson")
_CODING = re.compile(r"([a-z*]+)(?:;q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?))?")


class _Packer(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Brotli:
    """Brotli's own names, under those of the others."""

    def __init__(self) -> None:
        self._packer = brotli.Compressor(quality=4)

    def compress(self, data: bytes, /) -> bytes:
        packed: bytes = self._packer.process(data)
        return packed

    def flush(self) -> bytes:
        packed: bytes = self._packer.finish()
        return packed


# The quickest first: where a caller likes several as much, it gets the first.
_PACKERS: Mapping[str, Callable[[], _Packer]] = {
    "zstd": lambda: zstandard.ZstdCompressor(3).compressobj(),
    "br": _Brotli,
    "gzip": lambda: zlib.compressobj(5, wbits=31),
}


def packing(scope: Scope, send: Send) -> Send:
    """What sends an answer to this request, packed as its caller likes it best."""
    coding = _coding(scope)
    return _Passing(send, coding) if coding else send


class _Passing:
    """One answer on its way. Its head waits for the first piece, which says whether there is enough to pack."""

    def __init__(self, send: Send, coding: str) -> None:
        self._send = send
        self._coding = coding
        self._head: Message | None = None
        self._packer: _Packer | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._head = message
            return
        if self._head is not None and message["type"] == "http.response.body":
            await self._begin(self._head, message)
            self._head = None
        if self._packer is not None and message["type"] == "http.response.body":
            message = {**message, "body": await self._packed(self._packer, message)}
        await self._send(message)

    async def _begin(self, head: Message, first: Message) -> None:
        headers = MutableHeaders(raw=head["headers"])
        if _packable(head["status"], headers, first):
            self._packer = _PACKERS[self._coding]()
            headers["content-encoding"] = self._coding
            headers["vary"] = "Accept-Encoding"
            del headers["content-length"]
        await self._send({**head, "headers": headers.raw})

    async def _packed(self, packer: _Packer, message: Message) -> bytes:
        body, last = message.get("body", b""), not message.get("more_body", False)

        def pack() -> bytes:
            return packer.compress(body) + (packer.flush() if last else b"")

        return await asyncio.to_thread(pack) if len(body) > _INLINE else pack()


def _packable(status: int, headers: Headers, first: Message) -> bool:
    enough = first.get("more_body", False) or len(first.get("body", b"")) >= _SMALLEST
    media_type = headers.get("content-type", "").partition(";")[0]
    return enough and status != 206 and media_type in _TYPES and "content-encoding" not in headers


def _coding(scope: Scope) -> str:
    accepted = next((value for name, value in scope["headers"] if name == b"accept-encoding"), b"")
    return liked(accepted) if accepted else ""


@lru_cache(64)
def liked(accepted: bytes) -> str:
    """The coding that is liked best; none where the bare answer is liked better, or nothing that is known is named."""
    stated = dict[str, float]()
    for one in accepted.decode("latin-1").replace(" ", "").lower().split(","):
        found = _CODING.fullmatch(one)
        if found:
            stated[found[1]] = float(found[2] or 1)
    others = stated.get("*", 0.0)
    best = max(_PACKERS, key=lambda coding: stated.get(coding, others))
    quality = stated.get(best, others)
    return best if quality and quality >= stated.get("identity", 0.0) else ""
