"""Giving a patient who has just been verified what a feed's hold has for her."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlmodel import Session

from aggregator.errors import Refused, Tampered
from aggregator.sync import hold, routes
from aggregator.sync.feeds import feed_quarantine, without_others
from aggregator.sync.registry import Source
from aggregator.sync.routes import feed_id
from aggregator.sync.run import Worker
from aggregator.sync.tables import Connection, Hold
from aggregator.vault.keys import Root
from connectors.contract import Found, Item, Skipped

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Offered:
    """What became of held items: the patient's; two people's; and the rows that are done with."""

    hers: list[Item] = field(default_factory=list)
    aside: list[Skipped] = field(default_factory=list)
    done: list[Hold] = field(default_factory=list)


def offer(worker: Worker, session: Session, root: Root, source: Source, row: Connection) -> None:
    """Write what is held under the connection's tags into its vault and delete it, in the caller's transaction.

    So a crash leaves it either held or written. It takes the key service: the worker alone cannot open the hold.
    """
    made = _Offered()
    for one, item in _opened(worker, session, root, source, row):
        claim = routes.claim(session, worker.keys, source, item.subject) if item.subject else routes.Claim()
        if row.id in claim.connections:
            made.hers.append(item)
        elif claim.refused:
            made.aside.append(Skipped(claim.refused, item.origin, b""))
        else:  # two people of one name: it waits
            continue
        made.done.append(one)
    if made.done:
        _write(worker, session, source, row, made)


def _opened(
    worker: Worker, session: Session, root: Root, source: Source, row: Connection
) -> Iterator[tuple[Hold, Item]]:
    now, feed = worker.clock(), feed_id(worker.keys, source.authority)
    tags = routes.tags_of(session, worker.keys, row.id)
    claimed = hold.claim(root, row.vault, feed, tags, now)
    for one in hold.rows(session, worker.keys, feed, tags, now.timestamp()):
        try:
            yield one, hold.opened(worker.key_service, claimed, one, now)
        except (Tampered, Refused) as error:  # one damaged row keeps nobody from being verified
            logger.warning("hold: %s: %s", type(error).__name__, error)


def _write(worker: Worker, session: Session, source: Source, row: Connection, made: _Offered) -> None:
    writer = worker.writer(session, row, source, set(worker.state(row.vault, row.id, row.state)["patients"]))
    # In the order in which a source gives them: the person before what is about her.
    prepared, others = without_others(writer, sorted(made.hers, key=_is_no_patient), worker.clock())
    writer.commit(session, prepared)
    row.state = worker.seal_state(row.vault, row.id, None, writer.normaliser.patients)
    for item in (*made.aside, *others):
        session.merge(feed_quarantine(worker, source, item))
    for one in made.done:
        session.delete(one)


def _is_no_patient(item: Item) -> bool:
    return not (isinstance(item, Found) and item.resource.get("resourceType") == "Patient")
