"""The image: a disposable cache of the current resources that one reader may see, in one piece of bytes.

It is built in memory, sealed and stored by others, and opened without touching the disk: SQLite holds what is searched
(https://www.sqlite.org/c3ref/deserialize.html), and the bodies lie beside it as they are served, in compressed blocks
of which only those that are read are ever unpacked. Whoever opens an older format or index version builds it anew.

    image   = header, size of each block, zstd(SQLite database), zstd(block) ...
    header  = magic "PRI3", index version, size of the database, number of blocks, bytes behind each body
    size    = compressed size, raw size

All numbers are little-endian, of 32 bits. Around each body stands its frame, what an answer that shows a whole stretch
of the record has between them, so that such a stretch is sent as it lies there.

An owner's image has no blocks of its own where the vault has a snapshot: its bodies are those of the snapshot's texts
(FORMAT.md section 7), which it names in its table `text` and which are fetched when they are first read.

Resources are numbered from 1 in the order (type, local id): the number, `rid`, is a place in this image alone, but its
order is the same in every image, so a page that ends at (type, local id) goes on in any later one. `LAYOUT.md` has the
figures by which this layout was chosen.
"""

from __future__ import annotations

import sqlite3
import struct
import weakref
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import zstandard

from aggregator.errors import AggregatorError
from aggregator.vault import index_rows
from aggregator.vault.blob import Blob
from aggregator.vault.index_rows import BARE, Frame, Indexer
from aggregator.vault.meter import INSTRUCTIONS, Meter, TooMuchWork

Fetch = Callable[[str, int], bytes]
"""(section, part) -> one of the texts in which bodies lie that an image does not hold."""

_MAGIC = b"PRI3"
_HEADER = struct.Struct("<4sIIII")
_BLOCK_SIZE = struct.Struct("<II")
_BLOCK = 1024 * 1024  # raw bytes at which a block closes; a larger body has a block of its own
_LEVEL = 9
_MOST_UNPACKED = 16 * 1024 * 1024
"""Raw bytes of blocks that an open image holds, or one block: an export of any length keeps no more of it. A record of
9,000 resources (13 MB) is held whole; of a larger one a body may cost a block's unpacking, 0.5 ms, again."""
_MOST_LOCALS = 4096  # ids of 26 characters that an open image remembers: half a megabyte at the most

_SCHEMA = """
CREATE TABLE resource (rid INTEGER PRIMARY KEY, local TEXT, version INT, updated INT, section INT, start INT, size INT);
CREATE TABLE text (number INTEGER PRIMARY KEY, section TEXT, part INT, size INT);
CREATE TABLE blob (rid INTEGER PRIMARY KEY, id TEXT, key BLOB, size INT, sha256 TEXT);
CREATE TABLE kind (type TEXT PRIMARY KEY, first INT, last INT) WITHOUT ROWID;
CREATE TABLE section (id INTEGER PRIMARY KEY, name TEXT, size INT);
CREATE TABLE gone (type TEXT, local TEXT, version INT, updated INT, PRIMARY KEY (type, local)) WITHOUT ROWID;
"""
_READ = "SELECT rid, local, version, updated, section, start, size FROM resource WHERE rid = ?"
_FETCH = """
SELECT rid, local, version, updated, section, start, size
FROM json_each(?) wanted CROSS JOIN resource ON rid = wanted.value ORDER BY wanted.key
"""
_SERVE = """
SELECT rid, local, start, size FROM json_each(?) wanted CROSS JOIN resource ON rid = wanted.value ORDER BY wanted.key
"""
_REACH = "SELECT start, size FROM resource WHERE rid = ?"
_LOCAL = "SELECT local FROM resource WHERE rid = ?"
_LOCALS = "SELECT local, rid FROM resource WHERE rid >= ? AND rid < ?"
_NO_FILES = "PRAGMA temp_store = MEMORY"  # what a large sort does not finish at once would lie in a temporary file
_TAKEN = "SELECT page_count * page_size FROM pragma_page_count('beside'), pragma_page_size('beside')"


class UnreadableImage(AggregatorError):
    """Not an image of this format: build it anew from the truth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A current resource.

    local: the part of its id after the vault's. updated: milliseconds since 1970 UTC. body: its JSON exactly as it is
    served, id and meta in place. blob: where the data of a Binary lies that is not in it.
    """

    resource_type: str
    local: str
    version: int
    updated: int
    section: str
    body: bytes
    blob: Blob | None = None


class Served(NamedTuple):
    """Of a current resource what a page shows: made twenty times a search, so a tuple. rid: its place in this image."""

    resource_type: str
    local: str
    body: bytes
    rid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """A deleted resource: its last version, and when it was deleted in milliseconds since 1970 UTC."""

    resource_type: str
    local: str
    version: int
    updated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Where the bodies lie that an image does not hold itself: in texts that are stored elsewhere.

    texts: (section, part, size in bytes) of each. starts: (section, local id) -> where the body starts, counted through
    all texts in that order.
    """

    texts: Sequence[tuple[str, int, int]]
    starts: Mapping[tuple[str, str], int]


def build(
    records: Iterable[Record],
    indexer: Indexer,
    gone: Iterable[Tombstone] = (),
    outside: Outside | None = None,
    frame: Frame = BARE,
) -> bytes:
    """The image of these records, in any order, with their bodies, or naming the texts outside that hold them.

    Raises ValueError where two have one type and local id.
    """
    ordered = sorted(records, key=_place)
    _refuse_twins(ordered)
    compressor = zstandard.ZstdCompressor(level=_LEVEL)
    before = [frame.before(one.resource_type, one.local) for one in ordered]
    framed = (b"".join((head, one.body, frame.behind)) for head, one in zip(before, ordered, strict=True))
    blocks = [(len(block), compressor.compress(block)) for block in (() if outside else _blocks(framed))]
    starts = _outer_starts(ordered, outside) if outside else _starts(ordered, before, frame.behind)
    database = compressor.compress(_database(ordered, starts, indexer, gone, outside))
    head = _HEADER.pack(_MAGIC, indexer.version, len(database), len(blocks), len(frame.behind))
    sizes = (_BLOCK_SIZE.pack(len(packed), raw) for raw, packed in blocks)
    return b"".join([head, *sizes, database, *(packed for _, packed in blocks)])


def _place(record: Record) -> tuple[str, str]:
    return record.resource_type, record.local


def _refuse_twins(ordered: Sequence[Record]) -> None:
    for one, next_one in pairwise(ordered):
        if _place(one) == _place(next_one):
            raise ValueError("two records have one type and id")


def _blocks(texts: Iterable[bytes]) -> Iterator[bytes]:
    block, size = list[bytes](), 0
    for text in texts:
        block.append(text)
        size += len(text)
        if size >= _BLOCK:
            yield b"".join(block)
            block, size = [], 0
    if block:
        yield b"".join(block)


def _database(
    ordered: Sequence[Record],
    starts: Sequence[int],
    indexer: Indexer,
    gone: Iterable[Tombstone],
    outside: Outside | None,
) -> bytes:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.executescript(_SCHEMA + index_rows.SCHEMA)
        connection.execute("BEGIN")
        _insert_resources(connection, ordered, starts)
        index_rows.insert(connection, ((record.resource_type, record.body) for record in ordered), indexer)
        connection.executemany(
            "INSERT INTO gone VALUES (?, ?, ?, ?)", ((t.resource_type, t.local, t.version, t.updated) for t in gone)
        )
        texts = outside.texts if outside else ()
        connection.executemany("INSERT INTO text (section, part, size) VALUES (?, ?, ?)", texts)
        connection.execute("COMMIT")
        return connection.serialize()
    finally:
        connection.close()


def _starts(ordered: Sequence[Record], before: Sequence[bytes], behind: bytes) -> list[int]:
    heads, sizes = map(len, before), (len(record.body) + len(behind) for record in ordered)
    starts, end = list[int](), 0
    for head, size in zip(heads, sizes, strict=True):
        starts.append(end + head)
        end = starts[-1] + size
    return starts


def _outer_starts(ordered: Sequence[Record], outside: Outside) -> list[int]:
    return [outside.starts[record.section, record.local] for record in ordered]


def _insert_resources(connection: sqlite3.Connection, ordered: Sequence[Record], starts: Sequence[int]) -> None:
    kinds, sections = dict[str, list[int]](), dict[str, list[int]]()
    rows = list[tuple[int, str, int, int, int, int, int]]()
    for rid, (record, start) in enumerate(zip(ordered, starts, strict=True), 1):
        kinds.setdefault(record.resource_type, [rid, rid])[1] = rid
        section = sections.setdefault(record.section, [len(sections), 0])
        section[1] += 1
        rows.append((rid, record.local, record.version, record.updated, section[0], start, len(record.body)))
    connection.executemany("INSERT INTO resource VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    blobs = (
        (rid, one.id, one.key, one.size, one.sha256) for rid, record in enumerate(ordered, 1) if (one := record.blob)
    )
    connection.executemany("INSERT INTO blob VALUES (?, ?, ?, ?, ?)", blobs)
    connection.executemany("INSERT INTO kind VALUES (?, ?, ?)", ((kind, *ends) for kind, ends in kinds.items()))
    connection.executemany(
        "INSERT INTO section VALUES (?, ?, ?)", ((n, name, size) for name, (n, size) in sections.items())
    )


class Image:
    """An open image. Holds plaintext until `close`; may be used from any thread, one at a time."""

    def __init__(
        self,
        index_version: int,
        connection: sqlite3.Connection,
        blocks: Sequence[tuple[int, Callable[[], bytes]]],
        behind: int,
    ) -> None:
        """blocks: of each its raw size, and what gives its bytes. behind: how many of them follow each body."""
        self.index_version = index_version
        self.framed = behind > 0
        """Do its bodies lie in frames, and not elsewhere?"""
        self._behind = behind
        self._connection = connection
        self.size = 0
        """Bytes that it may take in memory: as it came, its database, and as much unpacked as it holds."""
        self.measure(Meter())
        weakref.finalize(self, connection.close)  # an image that is dropped unclosed lets go as well
        self._unpack = [unpack for _, unpack in blocks]
        self._starts = list(accumulate((raw for raw, _ in blocks), initial=0))[:-1]
        self._unpacked: dict[int, bytes] = {}
        self._held = 0
        self._locals: dict[int, str] = {}
        self.kinds: dict[str, range] = {
            kind: range(first, last + 1) for kind, first, last in self.select("SELECT * FROM kind")
        }
        """The rids of each resource type that there is, types ascending."""
        self._types, self._firsts = list(self.kinds), [rids.start for rids in self.kinds.values()]
        self._sections = {number: (name, size) for number, name, size in self.select("SELECT * FROM section")}

    @classmethod
    def open(cls, data: bytes, fetch: Fetch | None = None) -> Image:
        """Raises UnreadableImage for another format. Damage is not sought: the seal has authenticated the bytes.

        fetch: where bodies are that the image names only; what it raises comes out of whatever reads a body.
        """
        if len(data) < _HEADER.size or not data.startswith(_MAGIC):
            raise UnreadableImage("not an image of this format")
        _, index_version, database_size, number, behind = _HEADER.unpack_from(data)
        heap, unpack = _HEADER.size + number * _BLOCK_SIZE.size, zstandard.ZstdDecompressor().decompress
        view = memoryview(data)
        database = unpack(view[heap : heap + database_size])
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False, cached_statements=512)
        connection.deserialize(database)
        connection.execute(_NO_FILES)
        blocks: list[tuple[int, Callable[[], bytes]]] = [
            (raw, partial(unpack, packed)) for raw, packed in _packed(view, heap + database_size, number)
        ]
        try:
            blocks += _outside(connection, fetch)
        except UnreadableImage:
            connection.close()
            raise
        image = cls(index_version, connection, blocks, behind if number else 0)
        sizes = [raw for raw, _ in blocks]
        image.size = len(data) + len(database) + min(sum(sizes), max(_MOST_UNPACKED, *sizes, 0))
        return image

    def close(self) -> None:
        """Let go of all that was read. The image answers nothing more."""
        self._connection.close()
        self._unpacked.clear()
        self._held = 0
        self._unpack.clear()
        self._locals.clear()

    def measure(self, meter: Meter) -> None:
        """Count the work of what is asked from now on with this meter."""
        self.meter = meter
        self._connection.set_progress_handler(meter.step, INSTRUCTIONS)

    def count(self, resource_type: str | None = None) -> int:
        """How many resources there are, of this type or in all."""
        if resource_type is None:
            return sum(map(len, self.kinds.values()))
        return len(self.kinds.get(resource_type, ()))

    def sections(self) -> dict[str, int]:
        """How many resources each section holds, of those that hold any."""
        return dict(self._sections.values())

    def find(self, resource_type: str, local: str) -> int | None:
        """The rid of a current resource. Local ids ascend with the rids, so no index is kept for them."""
        rids = self.kinds.get(resource_type, range(0))
        at = bisect_left(rids, local, key=self._local)
        return rids[at] if at < len(rids) and self._local(rids[at]) == local else None

    def locals(self, resource_type: str) -> dict[str, int]:
        """Local id -> rid of every resource of a type: for who looks for many."""
        rids = self.kinds.get(resource_type, range(0))
        return dict(self.select(_LOCALS, (rids.start, rids.stop)))

    def after(self, resource_type: str, local: str) -> int:
        """The rid at which a list goes on behind (type, local id), whether that resource is still there or not."""
        for kind, rids in self.kinds.items():
            if kind == resource_type:
                return rids.start + bisect_right(rids, local, key=self._local)
            if kind > resource_type:
                return rids.start
        return self.count() + 1

    def read(self, resource_type: str, local: str) -> Record | None:
        """A current resource."""
        rid = self.find(resource_type, local)
        return None if rid is None else self._record(*self.select(_READ, (rid,))[0])

    def blob(self, resource_type: str, local: str) -> Blob | None:
        """Where the data of a current resource lies, if it lies outside of it."""
        rows = self.select(
            "SELECT id, key, size, sha256 FROM blob WHERE rid = ?", (self.find(resource_type, local) or 0,)
        )
        return next((Blob(id=id_, key=key, size=size, sha256=sha256) for id_, key, size, sha256 in rows), None)

    def gone(self, resource_type: str, local: str) -> Tombstone | None:
        """What is known of a deleted resource."""
        statement = "SELECT version, updated FROM gone WHERE type = ? AND local = ?"
        rows = self.select(statement, (resource_type, local))
        return next(
            (Tombstone(resource_type=resource_type, local=local, version=v, updated=at) for v, at in rows), None
        )

    def fetch(self, rids: Sequence[int]) -> list[Record]:
        """The resources with these rids, in the order given. Raises KeyError where one is not there."""
        rows = self.select(_FETCH, (str(list(rids)),))
        if len(rows) != len(rids):
            raise KeyError("no such rid")
        return [self._record(*row) for row in rows]

    def served(self, rids: Sequence[int]) -> list[Served]:
        """What a page shows of the resources with these rids, in the order given. Raises KeyError."""
        rows = self.select(_SERVE, (str(list(rids)),))
        if len(rows) != len(rids):
            raise KeyError("no such rid")
        return self.show(rows)

    def show(self, rows: Iterable[tuple[int, str, int, int]]) -> list[Served]:
        """What a page shows of rows of `resource`: rid, local, start, size. Most are of one type, in one block."""
        shown, kind, rids, block, within = list[Served](), "", range(0), b"", range(0)
        for rid, local, start, size in rows:
            if rid not in rids:
                kind, rids = self._kind(rid)
            if start not in within:
                block, within = self._block(start)
            at = start - within.start
            shown.append(Served(kind, local, block[at : at + size], rid))
        return shown

    def stretch(self, rids: range) -> list[bytes]:
        """The bodies with these rids in their frames, as they lie there; only where it is `framed`, and all are there.

        No resource is looked at: a page of 500 costs three rows and a copy.
        """
        ((start, size),) = self.select(_REACH, (rids.stop - 1,))
        before = self.select(_REACH, (rids.start - 1,))
        low, high = (sum(before[0]) + self._behind if before else 0), start + size + self._behind
        pieces = list[bytes]()
        while low < high:
            block, within = self._block(low)
            pieces.append(block[low - within.start : high - within.start])
            low = within.stop
        return pieces

    def select(self, statement: str, parameters: Sequence[int | float | str] = ()) -> list[tuple[Any, ...]]:
        """Run a SELECT over `resource` and the tables of the index: the door for searches. Raises TooMuchWork."""
        try:
            return self._connection.execute(statement, parameters).fetchall()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                raise TooMuchWork from None
            raise

    def add(self, table: str, insert: str, rows: Iterable[Sequence[int | str]]) -> None:
        """A table beside those of the image, in memory, for as long as it is open: all of its rows or none.

        table, insert: statements, in which its schema is called `beside`. Its size counts into the image's.
        """
        run = self._connection.execute
        run("ATTACH ':memory:' AS beside")
        try:
            run("BEGIN")
            run(table)
            self._connection.executemany(insert, rows)
            run("COMMIT")
        except BaseException:
            run("ROLLBACK")
            run("DETACH beside")
            raise
        self.size += self.select(_TAKEN)[0][0]

    def _local(self, rid: int) -> str:
        """Remembered, because every search by halves begins in the same middle: a find of 640 asks 9 rows otherwise."""
        local = self._locals.get(rid)
        if local is None:
            ((local,),) = self.select(_LOCAL, (rid,))
            if len(self._locals) < _MOST_LOCALS:
                self._locals[rid] = local
        return local

    def _record(self, rid: int, local: str, version: int, updated: int, section: int, start: int, size: int) -> Record:
        kind, _ = self._kind(rid)
        block, within = self._block(start)
        at = start - within.start
        return Record(
            resource_type=kind,
            local=local,
            version=version,
            updated=updated,
            section=self._sections[section][0],
            body=block[at : at + size],
        )

    def _kind(self, rid: int) -> tuple[str, range]:
        """The type of a resource, and the rids of all that are of it."""
        kind = self._types[bisect_right(self._firsts, rid) - 1]
        return kind, self.kinds[kind]

    def _block(self, start: int) -> tuple[bytes, range]:
        """The bodies among which this one starts, and where they lie."""
        number = bisect_right(self._starts, start) - 1
        block = self._unpacked.get(number)
        if block is None:
            block = self._unpack[number]()
            self._make_room(len(block))
            self._unpacked[number] = block
        first = self._starts[number]
        return block, range(first, first + len(block))

    def _make_room(self, size: int) -> None:
        """The block that was unpacked first goes first: what reads on and on never comes back to it."""
        self._held += size
        while self._unpacked and self._held > _MOST_UNPACKED:
            self._held -= len(self._unpacked.pop(next(iter(self._unpacked))))


def _packed(data: memoryview, start: int, number: int) -> Iterator[tuple[int, memoryview]]:
    """(raw size, compressed bytes) of each block; the first one lies at `start`."""
    for packed, raw in _BLOCK_SIZE.iter_unpack(data[_HEADER.size : _HEADER.size + number * _BLOCK_SIZE.size]):
        yield raw, data[start : start + packed]
        start += packed


def _outside(connection: sqlite3.Connection, fetch: Fetch | None) -> list[tuple[int, Callable[[], bytes]]]:
    texts = connection.execute("SELECT section, part, size FROM text ORDER BY number").fetchall()
    if texts and fetch is None:
        raise UnreadableImage("its bodies lie outside of it")
    return [(size, partial(fetch, section, part)) for section, part, size in texts if fetch]
