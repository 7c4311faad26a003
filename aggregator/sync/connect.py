"""Connecting a source: what an owner signs so that a worker may write, and how a feed learns who a patient is."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from sqlmodel import Session, col, delete, select, update

from aggregator.consent import mandate
from aggregator.consent.mandate import Expected, Person, Signer
from aggregator.errors import CallerError, Refused, Tampered
from aggregator.sync import activation, routes
from aggregator.sync.offer import offer
from aggregator.sync.registry import Source
from aggregator.sync.routes import as_subject, feed_id
from aggregator.sync.run import Worker, settings_header
from aggregator.sync.tables import Connection, Feed, Route
from aggregator.sync.verification import Fact, Level, Verification, open_facts, seal_facts
from aggregator.vault import counter, tables
from aggregator.vault.encoding import canonical
from aggregator.vault.keys import Root

_THE_PERSON = ""
"""A feed's account in a vault: a vault has one person, whose names and numbers may yet be corrected."""


class Connections:
    """Makes and ends connections."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._store = worker.store
        self._keys = worker.keys
        self._registry = worker.registry
        self._clock = worker.clock

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
            row.ended, row.verification = True, None
            _end_mandate(session, vault, row.mandate, root)
            session.exec(delete(Route).where(col(Route.connection) == connection))

    def again(self, vault: str, connection: str, root: Root) -> None:
        """Have the next tick pull it from the beginning: what stands aside is tried once more, nothing is doubled.

        What a feed's hold has for the patient is written at once. A run that is under way loses its lease: it would put
        its cursor, and when it is due next, over this.
        """
        with self._store.write() as session:
            row = _own(session, vault, connection)
            row.next_at, row.lease = 0.0, ""
            source = self._registry.find(self._worker.settings(row)["authority"])
            if source is not None and source.is_feed:
                offer(self._worker, session, root, source, row)
            row.state = None

    def issue_code(self, authority: str, person: Person, level: Level = Level.SUBSTANTIAL) -> str:
        """A code by which a practice vouches for a person whose identity it has seen; stored as a handle alone.

        Raises CallerError for what is no feed, or a level below the one that the source asks for.
        """
        source = self._feed(authority)
        if level.rank < source.identity_level.rank:
            raise CallerError(
                f"{authority} asks for the level {source.identity_level}: a code at level {level} would open nothing; "
                f"issue it with --level {source.identity_level}, if the person was seen so"
            )
        code, row = activation.issue(self._keys, authority, person, level, self._clock())
        with self._store.write(row.code.hex()) as session:
            session.add(row)
        return code

    def redeem(self, signer: Signer, code: str) -> str:
        """Connect the signer to the feed that the code came from. Raises Refused: deliberately not said why.

        Raises CallerError after too many tries within an hour.
        """
        now = self._clock()
        with self._store.write(signer.vault) as session:
            activation.count_try(session, signer.vault, now.timestamp())
        with self._store.write() as session:  # a code is used up by the commit that connects, or not at all
            row, found = activation.find(session, self._keys, code, now)
            if not _is_stated(signer, found.verification.person):
                raise activation.not_valid()
            connection = self._verified(session, signer, self._registry.source(found.authority), found.verification)
            session.delete(row)  # used up: whom the practice knows is nothing to keep
            activation.forget_tries(session, signer.vault)
        return connection

    def verify(self, signer: Signer, authority: str, verification: Verification) -> str:
        """Connect the signer to a feed by what somebody vouches for: an OpenID provider's claims, a desk that saw her.

        The caller has checked that the fact is the voucher's. Raises Refused where it is about somebody else than the
        signer says to be, or below the level that the source asks for.
        """
        source = self._feed(authority)
        if not _is_stated(signer, verification.person):
            raise Refused("the identity that was verified is not the one that this record is for")
        with self._store.write() as session:
            return self._verified(session, signer, source, verification)

    def _feed(self, authority: str) -> Source:
        source = self._registry.source(authority)
        if not source.is_feed:
            raise CallerError(f"{authority} is no feed: it needs no activation code")
        return source

    def _verified(self, session: Session, signer: Signer, source: Source, verification: Verification) -> str:
        """Connection, routes and what is held for her, in one transaction. Raises Refused for too low a level."""
        if verification.level.rank < source.identity_level.rank:
            raise Refused(
                f"{source.title} asks for an identity verified at level {source.identity_level}, this one is "
                f"{verification.level}; ask the practice for an activation code"
            )
        connection = self._write(session, signer, source, _THE_PERSON, {})
        routes.write(session, self._keys, source.authority, connection, verification.person, verification.level)
        row = session.get_one(Connection, connection)
        fact = Fact(method=verification.method, level=verification.level, by=verification.by, at=verification.at)
        facts = (*open_facts(self._keys, row.vault, row.id, row.verification), fact)
        row.verification = seal_facts(self._keys, row.vault, row.id, facts)
        self._offer_again(session, source)
        offer(self._worker, session, signer.root, source, row)
        return connection

    def _write(
        self, session: Session, signer: Signer, source: Source, account: str, settings: Mapping[str, Any]
    ) -> str:
        """Mandate and connection; of a connection that was there before the id, the ledger and the cursor stay."""
        handle = signer.root.source(source.authority, account)
        same = (Connection.vault == signer.vault, Connection.source == handle)
        before = session.exec(select(Connection).where(*same)).first()
        connection = before.id if before else secrets.token_hex(16)
        row = counter.known_head(session, signer.vault)
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
                verification=before.verification if before else None,
                is_feed=source.is_feed,
            )
        )
        return connection

    def _offer_again(self, session: Session, source: Source) -> None:
        """Have the feed offer again what it holds already.

        A run that is under way loses its lease: it would put the cursor, or an item in the hold, behind what the new
        person is to receive.
        """
        feed = feed_id(self._keys, source.authority)
        session.exec(update(Feed).where(col(Feed.id) == feed).values(state=None, next_at=0.0, lease=""))


def _is_stated(signer: Signer, person: Person) -> bool:
    """Is it whom the vault is for, as the patient says and signs? Both must hold: neither's word is enough."""
    return Expected.of(signer.person, signer.root.tag_key()).compare(as_subject(person)) is True


def _own(session: Session, vault: str, connection: str) -> Connection:
    row = session.get(Connection, connection)
    if row is None or row.vault != vault or row.ended:
        raise CallerError("there is no such connection")
    return row


def _end_mandate(session: Session, vault: str, identity: str, root: Root) -> None:
    """As of the log's present end. One that is gone or forged writes nothing anyway."""
    row, head = session.get(tables.Mandate, (vault, identity)), counter.known_head(session, vault)
    if row is None:
        return
    row.ended = True
    with suppress(Tampered):
        mandate.end(row, root, head.log_position)
