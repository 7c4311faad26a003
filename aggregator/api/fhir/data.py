"""A Binary on its way out, in constant memory however long it is: its data lies outside the resource.

https://hl7.org/fhir/R4/binary.html. A view may be closed while an answer is sent, so that nothing of it is kept; what
is asked again and again is whether the caller may still read.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain

from starlette.responses import Response, StreamingResponse

from aggregator.api.errors import FHIR_JSON
from aggregator.api.fhir import formats
from aggregator.api.fhir.formats import FHIR_XML, Form
from aggregator.api.service import Service
from aggregator.errors import Stale
from aggregator.vault import blob, counter
from aggregator.vault.blob import Blob
from aggregator.vault.blob_store import BlobStore
from aggregator.vault.image import Record
from aggregator.vault.view import View

_AROUND = {FHIR_JSON: (b"}", b',"data":"', b'"}'), FHIR_XML: (b"</Binary>", b'<data value="', b'"/></Binary>')}
_STILL_EVERY = 64  # pieces of 64 KiB between two looks at whether the caller may still read


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A Binary that a caller may read. body: its JSON as stored. blob: where its data lies, if not in it.

    still: whether what the caller saw it by is still in force.
    """

    vault: str
    body: bytes
    blob: Blob | None
    blobs: BlobStore
    still: Callable[[], bool]

    @classmethod
    def of(cls, service: Service, view: View, record: Record) -> Content:
        """One that a view holds."""
        vault, version = view.vault, view.grant_version

        def still() -> bool:
            with service.store.read() as session:
                row = counter.head(session, vault)
            return row is not None and row.grant_version == version

        lies = view.image.blob(record.resource_type, record.local)
        return cls(vault=vault, body=record.body, blob=lies, blobs=service.blobs, still=still)

    @classmethod
    def just_written(cls, service: Service, vault: str, body: bytes, lies: Blob) -> Content:
        """One that its own writer gets back."""
        return cls(vault=vault, body=body, blob=lies, blobs=service.blobs, still=lambda: True)

    def size(self, told: Mapping[str, str]) -> int:
        """Bytes of the data."""
        return self.blob.size if self.blob else len(base64.b64decode(told.get("data", "")))

    def data(self, told: Mapping[str, str], start: int, end: int) -> Iterator[bytes]:
        """The data's bytes from start to end. Raises Tampered; Stale where it may no longer be read."""
        if self.blob is None:
            yield base64.b64decode(told.get("data", ""))[start:end]
            return
        for number, piece in enumerate(blob.read(self.blobs, self.vault, self.blob, start, end)):
            if number % _STILL_EVERY == _STILL_EVERY - 1 and not self.still():
                raise Stale("what opened this was ended")
            yield piece


async def as_fhir(content: Content, headers: Mapping[str, str], form: Form, status: int = 200) -> Response:
    """The resource, its data in base64 at its end: there it stands in JSON as in XML."""
    if content.blob is None:
        return Response(content.body, status, headers=dict(headers), media_type=FHIR_JSON)
    end, data, behind = _AROUND[form.media_type]
    before = formats.written(content.body, replace(form, pretty=False)).removesuffix(end) + data
    length = len(before) + (content.blob.size + 2) // 3 * 4 + len(behind)
    pieces = await begun(_base64(content.data({}, 0, content.blob.size)))
    told = {**headers, "Content-Length": str(length)}
    return StreamingResponse(chain([before], pieces, [behind]), status, headers=told, media_type=form.media_type)


async def begun(pieces: Iterator[bytes]) -> Iterable[bytes]:
    """The same, its first piece read already: what is not there is said by a status, not by an answer cut off."""
    first = await asyncio.to_thread(next, pieces, b"")
    return chain([first], pieces)


def _base64(pieces: Iterable[bytes]) -> Iterator[bytes]:
    held = b""
    for piece in pieces:
        held += piece
        whole = len(held) // 3 * 3
        yield base64.b64encode(held[:whole])
        held = held[whole:]
    yield base64.b64encode(held)
