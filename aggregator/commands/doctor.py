"""`aggregator doctor`: is this installation well? Each finding says what was looked at, and what to do."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import typer
from sqlmodel import col, select

from aggregator import memory, migrations
from aggregator.api.service import Service
from aggregator.commands.audit import verified
from aggregator.commands.common import AsJson, config_file, opened, print_json, say
from aggregator.commands.connectors import checked
from aggregator.commands.keys import file_row
from aggregator.errors import BlobsUnreachable
from aggregator.sync import quarantine
from aggregator.sync.run import FRESH, LATE
from aggregator.sync.tables import Connection
from aggregator.vault import blob_rows
from aggregator.vault.ring_folder import FILES
from aggregator.vault.tables import GrantIntent, Installation


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. ok: nobody needs to act."""

    what: str
    ok: bool
    told: str


def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Look at configuration, database, keys, sources, attachments, revocations, quarantine, audit chains; is all fresh?

    Example: aggregator doctor
    """
    with opened(context) as service:
        well = Finding(what="configuration", ok=True, told=f"{config_file(context)} loads; the key ring is the store's")
        findings = [well, *(finding for look in _LOOKS for finding in look(service))]
    if as_json:
        print_json({"well": all(one.ok for one in findings), "findings": [asdict(one) for one in findings]})
    for one in () if as_json else findings:
        say(f"{'ok  ' if one.ok else 'ACT '} {one.what}: {one.told}")
    if not all(one.ok for one in findings):
        raise typer.Exit(1)


def _database(service: Service) -> Iterator[Finding]:
    """A start brings the database to this version, or refuses it: what is open is well."""
    with service.store.read() as session:
        revision = migrations.revision(session.connection())
        form = session.get_one(Installation, 1).format
    told = f"{service.store.place}, revision {revision}, format {form}, {service.store.size():,} bytes"
    yield Finding(what="database", ok=True, told=told)


def _files(service: Service) -> Iterator[Finding]:
    rows = [row for name in FILES if (row := file_row(service.config.keys.folder / name))]
    # The list of destroyed keys is no secret: it lies elsewhere too.
    open_ones = [row["name"] for row in rows if not row["private"] and row["name"] != "destroyed"]
    told = f"run chmod 600 on {', '.join(open_ones)}" if open_ones else "readable by their owner alone"
    yield Finding(what="key files", ok=not open_ones, told=told)


def _memory(_service: Service) -> Iterator[Finding]:
    """Of this process: the service's is as it is where it is started as this command was."""
    told = "this machine may swap what is open; set LimitMEMLOCK=infinity for the service, or encrypt the swap"
    yield Finding(what="memory", ok=not memory.swaps(), told=told if memory.swaps() else "does not swap")


def _worker_key(service: Service) -> Iterator[Finding]:
    changing = service.worker_keys.changing
    told = "its change is not finished; end the service and run: aggregator keys rotate --worker"
    yield Finding(what="worker key", ok=not changing, told=told if changing else "one")


def _sources(service: Service) -> Iterator[Finding]:
    for source in service.registry:
        found = asyncio.run(checked(service, source))
        wrong = Counter(error for _, error in found if error)
        told = "; ".join(f"{count} of {len(found)}: {error}" for error, count in wrong.items())
        well = f"answers ({len(found)} asked)" if found else "nobody has connected it yet"
        yield Finding(what=f"source {source.authority}", ok=not wrong, told=told or well)


def _blobs(service: Service) -> Iterator[Finding]:
    named, lost = 0, 0
    try:
        there = {blob for blob, _ in service.blobs.ids()}
    except BlobsUnreachable as error:
        yield Finding(what="attachments", ok=False, told=str(error))
        return
    for blob in blob_rows.named(service.store):
        named, lost = named + 1, lost + (blob not in there)
    told = f"{lost} of {named} are not there; restore them from their backup" if lost else f"{named} are there"
    yield Finding(what="attachments", ok=not lost, told=told)


def _revocations(service: Service) -> Iterator[Finding]:
    with service.store.read() as session:
        open_ones = len(session.exec(select(GrantIntent)).all())
    told = f"{open_ones} revocations are not finished; restart the service" if open_ones else "none is unfinished"
    yield Finding(what="revocations", ok=not open_ones, told=told)


def _quarantine(service: Service) -> Iterator[Finding]:
    reasons = Counter(item.reason for item in quarantine.standing(service.store))
    told = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    yield Finding(what="quarantine", ok=True, told=told or "empty")


def _chains(service: Service) -> Iterator[Finding]:
    rows = verified(service)
    broken = [row["vault"] for row in rows if row["error"]]
    told = f"these do not hold: {', '.join(broken)}; restore them" if broken else f"{len(rows)} hold"
    yield Finding(what="audit chains", ok=not broken, told=told)


def _connections(service: Service) -> Iterator[Finding]:
    now = service.clock().timestamp()
    with service.store.read() as session:
        rows = session.exec(select(Connection).where(col(Connection.ended).is_(False)).order_by(Connection.id)).all()
    for row in rows:
        authority = service.worker.settings(row)["authority"]
        age = f"{(now - row.last_success) / 60:.0f} minutes ago" if row.last_success else "never"
        told = f"{row.status}, last pulled {age}" + (f": {row.error}" if row.error else "")
        yield Finding(what=f"connection {authority} {row.id}", ok=row.status in (FRESH, LATE), told=told)


_LOOKS: tuple[Callable[[Service], Iterator[Finding]], ...] = (
    _database,
    _files,
    _worker_key,
    _memory,
    _sources,
    _blobs,
    _revocations,
    _quarantine,
    _chains,
    _connections,
)
