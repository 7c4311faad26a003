"""Connecting a source: what an owner signs so that a worker may write, and how a feed learns who a patient is."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import orjson
from sqlmodel import Session, col, delete, select, update

from aggregator.consent import mandate
from aggregator.consent.mandate import Expected, Person, Signer
from aggregator.errors import CallerError, Refused, Tampered
from aggregator.sync.feeds import feed_id, tags
from aggregator.sync.registry import Registry, Source
from aggregator.sync.run import settings_header
from aggregator.sync.tables import Activation, Connection, Feed, Route
from aggregator.vault import tables
from aggregator.vault.encoding import canonical
from aggregator.vault.key_ring import WorkerKeys
from aggregator.vault.keys import Root
from aggregator.vault.seal import header
from aggregator.vault.store import Store
from connectors.contract import Clock, Identifier, Subject
from fhir_profiles.codes import KVNR

_CODE_LIFE = timedelta(days=30)
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # no I, O, 0, 1: a code is read from paper
_CODE_LENGTH = 16  # 80 bits
_THE_PERSON = ""
"""A feed's account in a vault: a vault has one person, whose names and numbers may yet be corrected."""


class Connections:
    """Makes and ends connections."""

    def __init__(self, store: Store, keys: WorkerKeys, registry: Registry, clock: Clock) -> None:
        self._store = store
        self._keys = keys
        self._registry = registry
        self._clock = clock

    def connect(self, signer: Signer, authority: str, account: Mapping[str, Any]) -> str:
        """Connect one account at a source; returns the connection's id. The same account again is the same connection.

        Raises CallerError for wrong account settings, OperatorError for a source that is not configured.
        """
        source = self._registry.source(authority)
        if source.is_feed or source.spec.account_id is None:
            raise CallerError(f"{source.title} is connected with an activation code from the practice")
        source.check(account)
        settings = {name: value for name, value in account.items() if value is not None}
        with self._store.write(signer.vault) as session:
            return self._write(session, signer, source, str(account[source.spec.account_id]), settings)

    def end(self, vault: str, connection: str, root: Root) -> None:
        """End a connection and, signed by the vault's root, its mandate: nothing more is written. What is there stays.

        Raises CallerError for what is no connection of this vault.
        """
        with self._store.write(vault) as session:
            row = _own(session, vault, connection)
            row.ended = True
            _end_mandate(session, vault, row.mandate, root)
            session.exec(delete(Route).where(col(Route.connection) == connection))

    def again(self, vault: str, connection: str) -> None:
        """Have the next tick pull it from the beginning: what stands aside is tried once more, nothing is doubled."""
        with self._store.write(vault) as session:
            row = _own(session, vault, connection)
            row.state, row.next_at = None, 0.0

    def issue_code(self, authority: str, person: Person) -> str:
        """A code by which a practice vouches for a person whose identity it has seen; stored as a handle alone."""
        source = self._registry.source(authority)
        if not source.is_feed:
            raise CallerError(f"{authority} is no feed: it needs no activation code")
        code = "".join(secrets.choice(_ALPHABET) for _ in range(_CODE_LENGTH))
        handle, expires = self._code(code), int((self._clock() + _CODE_LIFE).timestamp())
        told = {"authority": authority, "person": asdict(person), "expires": expires}
        row = Activation(
            code=handle,
            feed=feed_id(self._keys, authority),
            person=self._keys.seal(header("activation", "", name=handle.hex()), canonical(told)),
            expires=expires,
        )
        with self._store.write(handle.hex()) as session:
            session.add(row)
        return "-".join(code[at : at + 4] for at in range(0, _CODE_LENGTH, 4))

    def redeem(self, signer: Signer, code: str) -> str:
        """Connect the signer to the feed that the code came from. Raises Refused: deliberately not said why."""
        handle = self._code(code)
        with self._store.write() as session:  # a code is used up by the commit that connects, or not at all
            row = session.get(Activation, handle)
            if row is None:
                raise Refused("this activation code is not valid; ask the practice for a new one")
            told = orjson.loads(self._keys.open(header("activation", "", name=handle.hex()), row.person))
            person = Person(**told["person"])
            if told["expires"] < self._clock().timestamp():  # what was sealed, not what the row beside it says
                raise Refused("this activation code is not valid; ask the practice for a new one")
            if Expected.of(signer.person, signer.root.tag_key()).compare(as_subject(person)) is not True:
                raise Refused("this activation code is not valid; ask the practice for a new one")
            source = self._registry.source(told["authority"])
            connection = self._write(session, signer, source, _THE_PERSON, {})
            self._verify(session, source, connection, person)
            session.delete(row)  # used up: whom the practice knows is nothing to keep
        return connection

    def _write(
        self, session: Session, signer: Signer, source: Source, account: str, settings: Mapping[str, Any]
    ) -> str:
        """Mandate and connection; of a connection that was there before the id, the ledger and the cursor stay."""
        handle = signer.root.source(source.authority, account)
        same = (Connection.vault == signer.vault, Connection.source == handle)
        before = session.exec(select(Connection).where(*same)).first()
        connection = before.id if before else secrets.token_hex(16)
        row = session.get_one(tables.Vault, signer.vault)
        if before:
            _end_mandate(session, signer.vault, before.mandate, signer.root)
        made = mandate.issue(row, signer, self._keys.public(), authority=source.authority, account=account)
        session.add(made)
        box = canonical({"authority": source.authority, "account": dict(settings)})
        session.merge(
            Connection(
                id=connection,
                vault=signer.vault,
                mandate=made.id,
                source=handle,
                settings=self._keys.seal(settings_header(signer.vault, connection, made.id), box),
                state=before.state if before else None,
                is_feed=source.is_feed,
            )
        )
        return connection

    def _verify(self, session: Session, source: Source, connection: str, person: Person) -> None:
        """Write the routing tags, and have the feed offer again what it holds already.

        A run that is under way loses its lease: it would put the cursor back behind what the new person is to receive.
        """
        feed = feed_id(self._keys, source.authority)
        for tag in _all_tags(self._keys, source.authority, person):
            session.merge(Route(feed=feed, tag=tag, connection=connection))
        session.exec(update(Feed).where(col(Feed.id) == feed).values(state=None, next_at=0.0, lease=""))

    def _code(self, code: str) -> bytes:
        plain = "".join(char for char in code.upper() if char.isalnum())
        return self._keys.feed_tag("activation", plain)


def _own(session: Session, vault: str, connection: str) -> Connection:
    row = session.get(Connection, connection)
    if row is None or row.vault != vault or row.ended:
        raise CallerError("there is no such connection")
    return row


def _end_mandate(session: Session, vault: str, identity: str, root: Root) -> None:
    """As of the log's present end. One that is gone or forged writes nothing anyway."""
    row, head = session.get(tables.Mandate, (vault, identity)), session.get_one(tables.Vault, vault)
    if row is None:
        return
    row.ended = True
    with suppress(Tampered):
        mandate.end(row, root, head.log_position)


def as_subject(person: Person) -> Subject:
    """The person as a source would name them."""
    numbers = (Identifier(KVNR, person.kvnr),) if person.kvnr else ()
    return Subject(identifiers=numbers, family=person.family, given=person.given, birth_date=person.birth_date)


def _all_tags(keys: WorkerKeys, authority: str, person: Person) -> list[bytes]:
    """By insurance number and, for items that carry none, by name and birth date."""
    by_name = Person(family=person.family, given=person.given, birth_date=person.birth_date)
    found = [*tags(keys, authority, as_subject(by_name))]
    return [*found, *tags(keys, authority, as_subject(person))] if person.kvnr else found
