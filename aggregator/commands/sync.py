"""`aggregator sync`: pull sources by hand, now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer
from sqlmodel import col, select

from aggregator.api.service import Service
from aggregator.commands.common import AsJson, note, observer, opened, out, print_json, progress, say, table
from aggregator.errors import Stale
from aggregator.sync import schedule
from aggregator.sync.feeds import run_feed
from aggregator.sync.run import BROKEN, Outcome, run
from aggregator.sync.schedule import Observe
from aggregator.sync.tables import Connection

_WHO = {
    "fresh": "",
    "late": "nobody: it is tried again",
    "broken": "the operator",
    "sign-in": "the patient: sign in at the source again",
}
"""Status -> who must act."""
_COLUMNS = ("found", "stored", "unchanged", "quarantined", "deleted")


def sync(
    context: typer.Context,
    connections: Annotated[
        list[str] | None, typer.Argument(metavar="[CONNECTION]...", help="A source, or a connection's id; all of them.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="From the beginning: what stands aside is tried anew.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Pull sources now. Ends with 1 where a connection is broken.

    Example: aggregator sync klinik-nord --again
    """
    with opened(context) as service:
        live = _live(service)
        _refuse_unknown(service, live, connections or [])
        started = time.perf_counter()
        with progress() as bars:
            observe = observer(bars, lambda name: f"{live.get(name, name)} {name[:8]}")
            outcomes = asyncio.run(_pull(service, live, connections or [], again, observe))
        _tell(outcomes, time.perf_counter() - started, as_json)
    if any(outcome.status == BROKEN for outcome in outcomes):
        raise typer.Exit(1)


def _live(service: Service) -> Mapping[str, str]:
    """Connection id -> source authority, of all connections that have not ended."""
    with service.store.read() as session:
        rows = session.exec(select(Connection).where(col(Connection.ended).is_(False))).all()
    return {row.id: service.worker.settings(row)["authority"] for row in rows}


def _refuse_unknown(service: Service, live: Mapping[str, str], names: Sequence[str]) -> None:
    known = {source.authority for source in service.registry}
    for name in names:
        if name not in known and name not in live:
            raise typer.BadParameter(f"{name} is neither a source ({', '.join(sorted(known))}) nor a connection's id")


async def _pull(
    service: Service, live: Mapping[str, str], names: Sequence[str], again: bool, observe: Observe
) -> list[Outcome]:
    if not names:
        at_once = service.config.sync.at_once
        return await schedule.sync(service.worker, at_once=at_once, again=again, observe=observe)
    made = []
    for authority, connection in _chosen(service, live, names):
        try:
            made += await _pull_one(service, authority, connection, again, observe)
        except Stale as held:
            note.print(f"{authority}: {held}", markup=False)
    return made


def _chosen(service: Service, live: Mapping[str, str], names: Sequence[str]) -> list[tuple[str, str]]:
    """(authority, connection id) of what is pulled, each once; "" for a feed, which is pulled whole."""
    found = []
    for name in names:
        wanted = [name] if name in live else [one for one, authority in live.items() if authority == name]
        feed = service.registry.source(live.get(name, name)).is_feed
        found += [(live.get(name, name), "")] if feed else [(live[one], one) for one in wanted]
    return list(dict.fromkeys(found))


async def _pull_one(service: Service, authority: str, connection: str, again: bool, observe: Observe) -> list[Outcome]:
    def shown(done: int, total: int | None) -> None:
        observe(connection or authority, done, total)

    if connection:
        return [await run(service.worker, connection, shown, again=again)]
    return await run_feed(service.worker, service.registry.source(authority), shown, again=again)


def _tell(outcomes: Sequence[Outcome], seconds: float, as_json: bool) -> None:
    ordered = sorted(outcomes, key=lambda outcome: (outcome.authority, outcome.vault is not None, outcome.connection))
    if as_json:
        print_json({"seconds": round(seconds, 3), "connections": [_row(outcome) for outcome in ordered]})
    else:
        _show(ordered)


def _row(outcome: Outcome) -> dict[str, Any]:
    """Without the vault: whose connection it is, an operator's log need not say."""
    told = asdict(outcome) | {"source": outcome.authority, "who": _WHO[outcome.status]}
    return {name: value for name, value in told.items() if name not in ("vault", "authority")}


def _show(outcomes: Sequence[Outcome]) -> None:
    made = table("", "source", "connection", numbers=_COLUMNS)
    made.add_column("status")
    for outcome in outcomes:
        numbers = [str(getattr(outcome, name)) for name in _COLUMNS]
        made.add_row(outcome.authority, outcome.connection if outcome.vault else "(the feed)", *numbers, outcome.status)
    out.print(made)
    for outcome in outcomes:
        if outcome.error:
            who = _WHO[outcome.status]
            say(f"{outcome.authority} {outcome.connection}: {outcome.error} ({who})")
