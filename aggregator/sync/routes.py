"""Whose an item of a feed is: an index of keyed tags under the operator's feed key, written when somebody is verified.

The insurance number decides; without one, name and birth date, where one person alone has both. An item that names two
people is nobody's, and neither is one that a birth date or a name contradicts.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from sqlmodel import Session, col, select

from aggregator.consent.mandate import Person, comparable_name, comparable_number
from aggregator.sync.registry import Source
from aggregator.sync.tables import Route
from aggregator.sync.verification import Level
from aggregator.vault.worker_keys import WorkerKeys
from connectors.contract import Identifier, Reason, Subject
from fhir_profiles.codes import KVNR


def feed_id(keys: WorkerKeys, authority: str) -> bytes:
    """A feed's handle."""
    return keys.feed_tag("feed", authority)


def as_subject(person: Person) -> Subject:
    """The person as a source would name them."""
    numbers = (Identifier(KVNR, person.kvnr),) if person.kvnr else ()
    return Subject(identifiers=numbers, family=person.family, given=person.given, birth_date=person.birth_date)


@dataclass(frozen=True, slots=True)
class _Tags:
    """What one subject says, keyed; None where it is silent. born: number and birth date together.

    An item is held under `main`: the number's tag, else the name's.
    """

    number: bytes | None
    born: bytes | None
    name: bytes | None

    @classmethod
    def of(cls, keys: WorkerKeys, authority: str, subject: Subject) -> _Tags:
        number, name = next(iter(_numbers(subject)), None), comparable_name(subject)
        born = number is not None and _is_date(subject.birth_date)
        return cls(
            keys.feed_tag(authority, "kvnr", number) if number else None,
            keys.feed_tag(authority, "born", str(number), subject.birth_date) if born else None,
            keys.feed_tag(authority, "name", *name) if name else None,
        )

    @property
    def main(self) -> bytes | None:
        return self.number or self.name

    def said(self) -> set[bytes]:
        return {tag for tag in (self.number, self.born, self.name) if tag}


@dataclass(frozen=True, slots=True)
class Claim:
    """Whose an item is. connections: empty where nobody is verified for it. tag: what it may be held under till then.

    refused: why it is nobody's, whoever comes to be verified.
    """

    connections: tuple[str, ...] = ()
    tag: bytes = b""
    refused: Reason | None = None


def claim(session: Session, keys: WorkerKeys, source: Source, subject: Subject) -> Claim:
    """Who is verified for this subject, at the level that the source asks for."""
    if len(_numbers(subject)) > 1:
        return Claim(refused=Reason.OTHER_PERSON)
    tags = _Tags.of(keys, source.authority, subject)
    if tags.main is None:
        return Claim(refused=Reason.NO_SUBJECT)
    by_tag = _routes(session, keys, source, tags.said())
    if tags.number is None:
        named = by_tag.get(tags.main, set())
        return Claim(tuple(named) if len(named) == 1 else (), tags.main)
    claimed = by_tag.get(tags.number, set())
    if claimed and _contradicted(claimed, tags, by_tag):
        return Claim(refused=Reason.OTHER_PERSON)
    return Claim(tuple(sorted(claimed)), tags.number)


def main_tag(keys: WorkerKeys, authority: str, subject: Subject) -> bytes | None:
    """The tag under which an item about this subject is held; None where the subject says too little."""
    return _Tags.of(keys, authority, subject).main


def _contradicted(claimed: set[str], tags: _Tags, by_tag: dict[bytes, set[str]]) -> bool:
    """Who has this number was born on another day, or the name is another verified person's; a new name is neither."""
    if tags.born and claimed - by_tag.get(tags.born, set()):
        return True
    named = by_tag.get(tags.name, set()) if tags.name else set()
    return bool(named) and not claimed & named


def _routes(session: Session, keys: WorkerKeys, source: Source, tags: Iterable[bytes]) -> dict[bytes, set[str]]:
    """Tag -> the connections that were verified for it, at no lower level than the source asks for."""
    feed, asked = feed_id(keys, source.authority), source.identity_level.rank
    rows = session.exec(select(Route).where(col(Route.feed) == feed, col(Route.tag).in_(tags))).all()
    found: dict[bytes, set[str]] = {}
    for row in rows:
        if row.level >= asked and is_genuine(keys, row):
            found.setdefault(row.tag, set()).add(row.connection)
    return found


def write(session: Session, keys: WorkerKeys, authority: str, connection: str, person: Person, level: Level) -> None:
    """The tags by which this person's items find the connection. Older ones stay: sources learn a new name late."""
    feed = feed_id(keys, authority)
    for tag in sorted(_Tags.of(keys, authority, as_subject(person)).said()):
        before = session.get(Route, (feed, tag, connection))
        rank = max(level.rank, before.level if before and is_genuine(keys, before) else 0)
        made = Route(feed=feed, tag=tag, connection=connection, level=rank)
        made.mac = _mac(keys, made)
        session.merge(made)


def tags_of(session: Session, keys: WorkerKeys, connection: str) -> list[bytes]:
    """The tags for which a connection was verified."""
    rows = session.exec(select(Route).where(col(Route.connection) == connection)).all()
    return [row.tag for row in rows if is_genuine(keys, row)]


def is_genuine(keys: WorkerKeys, row: Route) -> bool:
    """Written by a verification here: a row bent to another connection or level in the database counts nothing."""
    return hmac.compare_digest(row.mac, _mac(keys, row))


def _mac(keys: WorkerKeys, row: Route) -> bytes:
    return keys.feed_tag("route", row.feed.hex(), row.tag.hex(), row.connection, str(row.level))


def _numbers(subject: Subject) -> set[str]:
    return {comparable_number(one.value) for one in subject.identifiers if one.system == KVNR and one.value.strip()}


def _is_date(text: str) -> bool:
    try:
        return len(text) == len("YYYY-MM-DD") and bool(date.fromisoformat(text))
    except ValueError:
        return False
