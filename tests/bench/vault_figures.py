"""What taking in, opening and keeping a record costs: in this process, on one core."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import mmap
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import orjson
from sqlmodel import col, delete, select

from aggregator.audit.receipts import Condition, Opening
from aggregator.consent.grant import open_grant
from aggregator.fhir.page import Links
from aggregator.fhir.search import search
from aggregator.sync.tables import Connection
from aggregator.vault import log, tables, view
from aggregator.vault.envelope import Put, seal
from aggregator.vault.image import Image
from aggregator.vault.key_service import Admission, Ticket
from aggregator.vault.keys import OWNER, SectionKey, Writer
from aggregator.vault.seal import PublicKey, header, unwrap
from aggregator.vault.view import Reader
from connectors.contract import Found, Origin
from fhir_profiles.build import coding
from fhir_profiles.check import check
from fhir_profiles.profiles import SECTION_SYSTEM
from fhir_profiles.text import Resource, dumps
from tests.bench.figure import Figure, late, middle, repeated, timed
from tests.bench.installation import PAGE, PARTY, Installation, install

T = TypeVar("T")

QUERY = (("code", "http://loinc.org|8302-2"), ("_count", "20"))
"""Body heights: a token, and a page of twenty of which there are more."""

LIMITS = {640: 0.003, 9000: 0.025, 100_000: 0.3}
"""Resources -> seconds in which an image must open."""

FILTERED = {640: 0.008, 9000: 0.06}
"""The same for a view from which sections are left out."""

REQUESTS = 1000

DENIED = ("encounters", "immunizations", "insurance")

_LINKS = Links(base_url="https://record.example/fhir", seal=lambda place: place.hex(), unseal=bytes.fromhex)


_LARGE, _BULK_PAGE = 50_000, 5_000


def take_in(folder: Path, resources: Sequence[Resource], runs: int) -> tuple[Figure, Installation]:
    """Parsed resources to committed ones, each run into an installation of its own: the best, and the last one.

    A large record comes in larger pages, as a bulk import brings it: each commit writes the whole ledger anew.
    """
    page = PAGE if len(resources) < _LARGE else _BULK_PAGE
    rates, made = list[float](), install(folder / "0", resources[0]["id"])
    for run in range(1, runs + 1):
        seconds, stored = timed(lambda: made.take_in(resources, -(-len(resources) // page)))  # noqa: B023 - called before the loop goes on
        if stored != len(resources):
            raise RuntimeError(f"{len(resources) - stored} resources were set aside")
        rates.append(stored / seconds)
        if run < runs:
            made.close()
            made = install(folder / str(run), resources[0]["id"])
    texts = [dumps(resource) for resource in resources]
    bare = repeated(lambda: [orjson.dumps(json.loads(text)) for text in texts], runs)[0]
    return Figure(
        name=f"take-in {len(resources)}: parsed to committed, pages of {page}",
        value=max(rates),
        unit="resources/s",
        better="higher",
        target=2500,
        reference=len(texts) / bare,
    ), made


def steps(installation: Installation, resources: Sequence[Resource], runs: int) -> Iterator[Figure]:
    """What each step of taking in costs a resource; the last one holds the first two."""
    worker = installation.service.worker
    with worker.store.read() as session:
        row = session.get_one(Connection, installation.connection)
        writer = worker.writer(session, row, worker.registry.source("klinik"), set())
    found = [_found(resource, worker.clock()) for resource in resources]
    yield _each("check", resources, check, runs)
    yield _each("section table", resources, worker.table.section_of, runs)
    yield _each("normalise, with check and section table", found, writer.normaliser.normalise, runs)


def _found(resource: Resource, now: datetime) -> Found:
    source_id = f"{resource['resourceType']}/{resource['id']}"
    return Found(resource, Origin.of(b"", locator=source_id, source_id=source_id, fetched_at=now))


def _each(name: str, things: Sequence[T], work: Callable[[T], object], runs: int) -> Figure:
    best = repeated(lambda: [work(one) for one in things], runs)[0]
    return Figure(name=f"{name}: a resource", value=best / len(things) * 1e6, unit="µs", better="lower")


def openings(installation: Installation, number: int, runs: int) -> Iterator[Figure]:
    """Cold: an image at rest to the first answered query. Before that: from the log, and from the truth."""
    owner = installation.owner
    mine = view.owner(owner.root, owner.sections, owner.patient)
    tail = timed(lambda: _first_answer(installation, mine))[0]
    yield _milliseconds(f"open {number} with the whole log as tail, owner: fold, snapshot, image", [tail])
    for name, what, reader in (
        ("owner", "owner", mine),
        ("grantee", "grantee", grantee(installation)),
    ):
        built = repeated(lambda: _built(installation, reader), max(1, runs // 10))  # noqa: B023 - called at once
        yield _milliseconds(f"build the image of {number} from the truth, {what}", built)
        cold = repeated(lambda: _first_answer(installation, reader), runs)  # noqa: B023 - called at once
        image = _unsealed(installation, reader)
        bare = repeated(lambda: Image.open(image, _nowhere), runs)  # noqa: B023 - called at once
        limit = LIMITS.get(number)
        yield _milliseconds(f"cold open {number}, {name}, median", [middle(cold)], limit, middle(bare))
        yield _milliseconds(f"cold open {number}, {name}, p99", [late(cold)])


def filtered(installation: Installation, number: int, runs: int) -> Iterator[Figure]:
    """The provider once the patient has denied it some sections: what is opened no longer holds them. In CPU time.

    Three things: to build what it sees from the truth, to open that image once it is there, and to decide, which is
    done while it is built and never again.
    """
    denied = [coding(SECTION_SYSTEM, name) for name in DENIED]
    installation.permit(provision=[{"type": "deny", "class": denied}])
    reader = grantee(installation)
    name = f"{number}, grantee with {len(DENIED)} sections denied"
    built = timed(lambda: _built(installation, reader), time.process_time)[0]
    yield _milliseconds(f"CPU to build the image of {name}", [built])
    cold = repeated(lambda: _first_answer(installation, reader), runs, time.process_time)
    yield _milliseconds(
        f"CPU of a cold open of {name}, its image at rest, median", [middle(cold)], FILTERED.get(number)
    )
    decided = _decisions(installation, reader)
    yield Figure(
        name=f"decisions while {REQUESTS} requests are answered of {name}",
        value=decided,
        unit="decisions",
        better="lower",
        target=0,
    )


def _decisions(installation: Installation, reader: Reader) -> int:
    """How often a resource is decided on once the view is open."""
    decided, permits = 0, reader.permits

    def counted(section: str, resource: Resource) -> bool:
        nonlocal decided
        decided += 1
        return permits is not None and permits(section, resource)

    service, vault = installation.service, installation.owner.vault
    opened = view.open_view(service.store, vault, replace(reader, permits=counted), service.indexer)
    decided = 0
    for _ in range(REQUESTS):
        search(opened, "Observation", QUERY, _LINKS)
    opened.close()
    return decided


def grantee(installation: Installation) -> Reader:
    """The provider's reader, its grant opened by the key service."""
    service, now = installation.service, installation.service.clock()
    party = service.registered[PARTY].party
    admission = Admission(party=PARTY, purpose="TREAT", scopes=("system/*.rs",), expires=int(now.timestamp()) + 600)
    ticket = Ticket("bench", service.key_service.admit("bench", admission))
    with service.store.read() as session:
        row = session.exec(select(tables.Grant)).one()
    opening = os.urandom(16)
    service.key_service.advance({}, [(row.vault, opening)])
    return open_grant(row, service.key_service, ticket, opening, now).reader(party, "TREAT", now, service.table)


def _first_answer(installation: Installation, reader: Reader) -> None:
    service, owner = installation.service, installation.owner
    root = owner.root if reader.id == OWNER else None
    opened = view.open_view(service.store, owner.vault, reader, service.indexer, root)
    if not search(opened, "Observation", QUERY, _LINKS).shown:
        raise RuntimeError("the query found nothing")
    opened.close()


def _nowhere(_section: str, _part: int) -> bytes:
    raise RuntimeError("opening an image reads no body")


def _built(installation: Installation, reader: Reader) -> None:
    with installation.service.store.write() as session:
        session.exec(delete(tables.ImageRow).where(col(tables.ImageRow.reader) == reader.id))
    _first_answer(installation, reader)


def _unsealed(installation: Installation, reader: Reader) -> bytes:
    """The reader's image without its seal."""
    with installation.service.store.read() as session:
        row = session.get_one(tables.ImageRow, (installation.owner.vault, reader.id))
    head = header("image", row.vault, name=row.reader, writer=row.built_for)
    return unwrap(reader.image_key, head, row.box)


def _milliseconds(
    name: str, times: Sequence[float], limit: float | None = None, reference: float | None = None
) -> Figure:
    return Figure(
        name=name,
        value=times[0] * 1e3,
        unit="ms",
        better="lower",
        target=limit and limit * 1e3,
        reference=reference and reference * 1e3,
    )


def unopened(folder: Path, resources: Sequence[Resource], commits: int, runs: int) -> Iterator[Figure]:
    """Opened for the first time after so many syncs, each with a resource or two: by a grantee, then by the owner."""
    made = install(folder, resources[0]["id"])
    made.permit()
    made.take_in(resources, commits)
    owner, name = made.owner, f"{len(resources)} after {commits} unopened syncs"
    built = repeated(lambda: _built(made, grantee(made)), max(1, runs // 20))
    yield _milliseconds(f"cold open {name}, grantee", [middle(built)])
    mine = view.owner(owner.root, owner.sections, owner.patient)
    yield _milliseconds(
        f"cold open {name}, owner, who leaves a snapshot", [timed(lambda: _first_answer(made, mine))[0]], 0.1
    )
    again = repeated(lambda: _first_answer(made, mine), runs)
    yield _milliseconds(f"the owner's next open, {name}, median", [middle(again)], LIMITS.get(len(resources)))
    made.close()


def appending(installation: Installation, resources: Sequence[Resource], runs: int) -> Iterator[Figure]:
    """100 resources to a vault that is open: what is sealed, chained and put into the ledger, and then the commit."""
    owner, sealed, committed = installation.owner, list[float](), list[float]()
    ids, page = owner.root.ids(), resources[1:101]
    for run in range(runs):
        puts = [_put(owner.vault, ids.local("owner", str(run), str(place)), one) for place, one in enumerate(page)]
        start = time.perf_counter()
        with installation.service.store.write(owner.vault) as session:
            row = session.get_one(tables.Vault, owner.vault)
            number, key = row.log_position + 1, owner.root.section(owner.sections["results"], row.epoch)
            section = SectionKey(key.id, key.epoch, key.private_key().public())
            log.append(session, row, [seal(row.id, section, Writer.owner(owner.root), number, puts)])
            session.flush()
            sealed.append(time.perf_counter() - start)
        committed.append(time.perf_counter() - start - sealed[-1])
    yield _milliseconds("append 100 resources to an open vault", [middle(sealed)], 0.005)
    yield _milliseconds("append 100 resources to an open vault: the commit", [middle(committed)])


def _put(vault: str, local: str, resource: Resource) -> Put:
    body = {"resourceType": resource["resourceType"], "id": f"{vault}.{local}"} | {
        name: value for name, value in resource.items() if name not in ("resourceType", "id")
    }
    at = "2026-11-21T20:30:00.000Z"
    return Put(local=local, resource_type=resource["resourceType"], version=1, updated=at, resource=dumps(body))


def memory(installation: Installation, number: int) -> Iterator[Figure]:
    """What the process grows by while a view is open and every body of it was read, per byte of JSON."""
    owner = installation.owner
    for name, reader in (
        ("owner", view.owner(owner.root, owner.sections, owner.patient)),
        ("grantee", grantee(installation)),
    ):
        _first_answer(installation, reader)  # the image is at rest
        before = _resident()
        opened = view.open_view(installation.service.store, owner.vault, reader, installation.service.indexer)
        count, json_bytes = opened.image.count(), 0
        for start in range(1, count + 1, 500):
            read = opened.image.served(range(start, min(start + 500, count + 1)))
            json_bytes += sum(len(one.body) for one in read)
        grown, counted = _resident() - before, opened.image.size
        opened.close()
        shares = {"grown by": (grown, 2.5), "counted in the budget": (counted, None)}
        for what, (size, target) in shares.items():
            yield Figure(
                name=f"memory of an open view of {number}, everything read, {name}: {what}",
                value=size / json_bytes,
                unit="bytes/byte",
                better="lower",
                target=target,
            )


def _resident() -> int:
    """Bytes, once what was freed has gone back to the system."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


def at_rest(installation: Installation, resources: Sequence[Resource]) -> Iterator[Figure]:
    """Bytes as stored per byte of JSON as it came: snapshot, manifest and ledger are the truth; the readers' images."""
    with installation.service.store.read() as session:
        truth = _size(session.exec(select(tables.SnapshotSection.box))) + _size(session.exec(select(tables.Ledger.box)))
        truth += sum(len(row.manifest) + len(row.signature) for row in session.exec(select(tables.Snapshot)))
        images = {row.reader: len(row.box) for row in session.exec(select(tables.ImageRow))}
        tail = len(session.exec(select(tables.LogEntry.position)).all())
    if tail:
        raise RuntimeError("the log is not folded")
    json_bytes, number = sum(len(dumps(resource)) for resource in resources), len(resources)
    own, granted = images.pop(OWNER), max(images.values())
    shares = {"truth": (truth, 0.10), "the owner's image": (own, 0.15), "a grantee's image": (granted, 0.15)}
    for name, (size, target) in shares.items():
        share = size / json_bytes
        yield Figure(name=f"at rest {number}: {name}", value=share, unit="bytes/byte", better="lower", target=target)


def _size(boxes: Iterable[bytes]) -> int:
    return sum(map(len, boxes))


def receipts(installation: Installation, seconds: float) -> Iterator[Figure]:
    """Durable receipts a second through the ReceiptWriter, by how many wait at once."""
    with installation.service.store.read() as session:
        row = session.get_one(tables.Vault, installation.owner.vault)
    opening = Opening(row.id, PublicKey(row.audit_key))
    condition = Condition(row.grant_version, row.log_position)
    asyncio.run(installation.service.receipts.write(opening.first({"kind": "opened"})))
    for writers in (1, 32, 512):
        done = asyncio.run(_write_for(installation, opening, condition, writers, seconds))
        target = 20_000 if writers == 512 else None
        name = f"receipts, {writers} at once"
        yield Figure(name=name, value=done / seconds, unit="receipts/s", better="higher", target=target)


async def _write_for(
    installation: Installation, opening: Opening, condition: Condition, writers: int, seconds: float
) -> int:
    end, done = time.perf_counter() + seconds, 0

    async def write() -> None:
        nonlocal done
        while time.perf_counter() < end:
            entry = {"kind": "answered", "party": PARTY, "purpose": "TREAT", "query": "code=8302-2", "shown": 20}
            await installation.service.receipts.write(opening.next(entry, condition))
            done += 1

    await asyncio.gather(*(write() for _ in range(writers)))
    return done
