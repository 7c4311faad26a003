"""How an image could be laid out, measured: the figures of aggregator/vault/LAYOUT.md.

    python -m tests.bench.image_layouts [number of resources ...]

Prints a Markdown table: size at rest per byte of JSON; resources taken in per second; milliseconds from the bytes at
rest, still under AES-GCM, to the first answered token query with a page of 20 bodies (cold); microseconds for the same
query again (warm) and for one body by its id. Each figure is the best of several runs, to leave out the machine's own
business.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar
from unittest.mock import patch

import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aggregator.fhir.index import SearchIndex
from aggregator.fhir.parameters import parameter
from aggregator.vault import image
from aggregator.vault.image import Image, Record, build
from fhir_profiles.text import dumps
from tests.bench.records import records

VAULT = "vaultvaultvaultvaultvaultv"
RUNS = 15
INDEX = SearchIndex("https://record.example/fhir")

_CODE = parameter("Observation", "code")
_PAGE = """
SELECT rid FROM term JOIN posting USING (tid) WHERE scope = ? AND text = '8302-2' AND rid > 0 ORDER BY rid LIMIT 20
"""
_SOURCE_ID = re.compile(rb'"((?:[A-Z][A-Za-z]+/)?)([0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12})"')


def stored(number: int) -> list[Record]:
    """Records as a vault holds them: ids of the vault, meta in place."""
    return [_stored(place, resource) for place, resource in enumerate(records(number))]


def _stored(place: int, resource: dict[str, object]) -> Record:
    kind = str(resource["resourceType"])
    meta = {
        "versionId": "1",
        "lastUpdated": "2026-11-20T03:12:44.123+01:00",
        "source": f"https://clinic.example/{kind}",
    }
    body = dumps({"resourceType": kind, "id": resource["id"], **resource, "meta": meta})
    return Record(
        resource_type=kind,
        local=_local(str(resource["id"]).encode()),
        version=1,
        updated=1_763_604_764_123 + place,
        section="results",
        body=_SOURCE_ID.sub(lambda found: b'"%b%b.%b"' % (found[1], VAULT.encode(), _local(found[2]).encode()), body),
    )


def _local(source_id: bytes) -> str:
    return base64.b32encode(hashlib.sha256(source_id).digest()).decode().lower()[:26]


class Opened(Protocol):
    """An open image of some layout."""

    def page(self) -> list[bytes]:
        """Twenty bodies by a token."""

    def body(self, resource_type: str, local: str) -> bytes:
        """One body by its id."""


@dataclass(frozen=True)
class Layout:
    """A candidate. pack gives the bytes before sealing, open takes them after unsealing."""

    name: str
    pack: Callable[[Sequence[Record]], bytes]
    open: Callable[[bytes], Opened]


class _Blocks:
    def __init__(self, data: bytes) -> None:
        self._image = Image.open(data)

    def page(self) -> list[bytes]:
        return [record.body for record in self._image.fetch(self._rids())]

    def _rids(self) -> list[int]:
        return [rid for (rid,) in self._image.select(_PAGE, (_CODE.scopes[0] if _CODE else 0,))]

    def body(self, resource_type: str, local: str) -> bytes:
        found = self._image.read(resource_type, local)
        return found.body if found else b""


def blocks(size: int, level: int) -> Layout:
    """The layout that was chosen, with other numbers."""

    def pack(found: Sequence[Record]) -> bytes:
        with patch.object(image, "_BLOCK", size), patch.object(image, "_LEVEL", level):
            return build(found, INDEX)

    return Layout(f"blocks of {size // 1024} KB, zstd {level}", pack, _Blocks)


class _Rows:
    """Bodies as rows beside the index."""

    def __init__(self, data: bytes, unpack: Callable[[bytes], bytes] = bytes) -> None:
        self._connection = sqlite3.connect(":memory:")
        self._connection.deserialize(zstandard.ZstdDecompressor().decompress(data))
        self._unpack = unpack

    def page(self) -> list[bytes]:
        rows = self._connection.execute(_PAGE, (_CODE.scopes[0] if _CODE else 0,)).fetchall()
        return [self._body(rid) for (rid,) in rows]

    def body(self, resource_type: str, local: str) -> bytes:
        rid = self._connection.execute("SELECT rid FROM place WHERE type = ? AND local = ?", (resource_type, local))
        return self._body(rid.fetchone()[0])

    def _body(self, rid: int) -> bytes:
        return self._unpack(self._connection.execute("SELECT body FROM body WHERE rid = ?", (rid,)).fetchone()[0])


def _with_bodies(found: Sequence[Record], pack: Callable[[bytes], bytes] = bytes) -> bytes:
    ordered = sorted(found, key=lambda record: (record.resource_type, record.local))
    connection = sqlite3.connect(":memory:")
    connection.deserialize(image._database(ordered, INDEX, ()))
    connection.execute("CREATE TABLE body (rid INTEGER PRIMARY KEY, body BLOB)")
    connection.execute("CREATE TABLE place (type, local, rid, PRIMARY KEY (type, local)) WITHOUT ROWID")
    connection.executemany("INSERT INTO body VALUES (?, ?)", ((rid, pack(r.body)) for rid, r in enumerate(ordered, 1)))
    places = ((record.resource_type, record.local, rid) for rid, record in enumerate(ordered, 1))
    connection.executemany("INSERT INTO place VALUES (?, ?, ?)", places)
    connection.commit()
    return connection.serialize()


def rows(level: int) -> Layout:
    """Bodies as rows, the whole database in one zstd frame."""

    def pack(found: Sequence[Record]) -> bytes:
        return zstandard.ZstdCompressor(level=level).compress(_with_bodies(found))

    return Layout(f"bodies as rows, whole zstd {level}", pack, _Rows)


_DICTIONARY_SIZE = 64 * 1024


def each(level: int, *, trained: bool) -> Layout:
    """Each body a frame of its own with a dictionary made of the image's bodies, which lies before the database."""

    def dictionary(content: bytes) -> zstandard.ZstdCompressionDict:
        kind = zstandard.DICT_TYPE_FULLDICT if trained else zstandard.DICT_TYPE_RAWCONTENT
        return zstandard.ZstdCompressionDict(content, dict_type=kind)

    def pack(found: Sequence[Record]) -> bytes:
        bodies = [record.body for record in found]
        content = zstandard.train_dictionary(_DICTIONARY_SIZE, [*bodies]).as_bytes() if trained else _sample(bodies)
        made = dictionary(content)
        made.precompute_compress(level=level)
        compressor = zstandard.ZstdCompressor(level=level, dict_data=made)
        database = zstandard.ZstdCompressor(level=level).compress(_with_bodies(found, compressor.compress))
        return len(content).to_bytes(4, "little") + content + database

    def unpacked(data: bytes) -> Opened:
        size = int.from_bytes(data[:4], "little")
        decompressor = zstandard.ZstdDecompressor(dict_data=dictionary(data[4 : 4 + size]))
        return _Rows(data[4 + size :], decompressor.decompress)

    return Layout(f"each body zstd {level}, {'trained' if trained else 'sampled'} dictionary", pack, unpacked)


def _sample(bodies: Sequence[bytes]) -> bytes:
    """Bodies from all over the record."""
    step = max(1, sum(map(len, bodies)) // _DICTIONARY_SIZE)
    return b"".join(bodies[::step])[:_DICTIONARY_SIZE]


LAYOUTS = [
    rows(3),
    rows(9),
    each(9, trained=False),
    each(9, trained=True),
    blocks(64 * 1024, 9),
    blocks(256 * 1024, 3),
    blocks(256 * 1024, 9),
    blocks(1024 * 1024, 9),
]


def measure(layout: Layout, found: Sequence[Record]) -> list[str]:
    """The cells of a layout's row."""
    building, data = _timed(lambda: layout.pack(found))
    cipher, nonce = AESGCM(AESGCM.generate_key(256)), os.urandom(12)
    sealed = cipher.encrypt(nonce, data, None)
    cold = min(_timed(lambda: layout.open(cipher.decrypt(nonce, sealed, None)).page())[0] for _ in range(RUNS))
    opened = layout.open(data)
    some = found[:: max(1, len(found) // 50)]
    warm = min(_timed(opened.page)[0] for _ in range(RUNS))
    one = min(_timed(lambda: [opened.body(r.resource_type, r.local) for r in some])[0] for _ in range(RUNS)) / len(some)
    size = len(sealed) / sum(len(record.body) for record in found)
    figures = [f"{size:.3f}", f"{len(found) / building:,.0f}"]
    return [layout.name, *figures, f"{cold * 1e3:.2f}", f"{warm * 1e6:.0f}", f"{one * 1e6:.0f}"]


T = TypeVar("T")


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    made = work()
    return time.perf_counter() - start, made


def main(numbers: Iterable[int]) -> None:
    for number in numbers:
        found = stored(number)
        size = sum(len(record.body) for record in found)
        head = [f"{number:,} resources, {size / 1e6:.1f} MB", "at rest", "taken in/s", "cold ms", "warm µs", "body µs"]
        lines = [head, ["---"] * len(head), *(measure(layout, found) for layout in LAYOUTS)]
        sys.stdout.write("".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n")


if __name__ == "__main__":
    main([int(number) for number in sys.argv[1:]] or [640, 9000])
