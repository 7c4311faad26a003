"""From what an owner wants to change to what is appended: pure, but for the blobs that it stores.

What an owner writes is the owner's. A source's resource is never overwritten: what is written over one is an
*amendment*, a resource of the owner's that stands beside it and names it, and that no later sync touches.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from aggregator.consent.section_table import SectionTable
from aggregator.errors import Changed, within
from aggregator.fhir.entries import ANY
from aggregator.fhir.outcome import Conflict, Gone, NotFound
from aggregator.identity.accounts import Owner, owner_put
from aggregator.sync.attached import Attached, take_out, take_own
from aggregator.vault.blob import Blob
from aggregator.vault.encoding import b32, instant
from aggregator.vault.envelope import Delete, Operation, Put, Remove
from aggregator.vault.fold import Version
from aggregator.vault.keys import OWNER
from aggregator.vault.mask import BINARY, part_of
from fhir_profiles.attachments import attachments
from fhir_profiles.profiles import AMENDS_URL, VERIFICATION_URL, unclaimed
from fhir_profiles.text import Resource, loads

_NOT_OURS = (
    "a source wrote this, and it ends when the source ends it: ask there; what is wrong in it can be amended by PUT"
)
_SOURCES = "urn:aggregator:source:"  # in meta.source: what a sync wrote, so nobody else says it
VERIFICATION, ISSUER = "verification", "issuer"
"""In an origin: whose word it is, and what checking that came to."""
_DOCUMENT = "Bundle"  # keeps what it holds, attachments too

Edit = Callable[[Resource | None], Resource]
"""From a resource's present content, None where it was deleted, to its next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What becomes of one resource. edit: None ends it. new: it is not there yet. if_match: as in Entry.

    place: of what asks for it in the caller's request. origin: of what the owner has from elsewhere.
    """

    resource_type: str
    local: str
    edit: Edit | None
    new: bool = False
    if_match: int | None = None
    place: str = ""
    origin: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A resource as a change left it. body: None where it has ended. amends: local id of the source's beside it.

    blob: where a Binary's data lies, if not in the body.
    """

    resource_type: str
    local: str
    version: int
    updated: str
    body: bytes | None
    created: bool = False
    amends: str = ""
    blob: Blob | None = None


def new_local() -> str:
    """The local id of a resource that an owner makes."""
    return b32(os.urandom(16))


def amendment(owner: Owner, local: str) -> str:
    """The local id of what an owner writes over this one: there is one amendment, with versions."""
    return owner.root.ids().local("vault", "amendment", local)


def is_current(if_match: int | None, versions: Sequence[Version]) -> bool:
    """Is the newest of these what `If-Match` names, or, where that is ANY, one that has not ended?"""
    newest = versions[-1].operation if versions else None
    if if_match is None or newest is None:
        return if_match is None
    return isinstance(newest, Put) if if_match == ANY else newest.version == if_match


Present = Mapping[str, tuple[str, Sequence[Version]]]
"""Local id -> (section, versions), of all that is there."""


@dataclass(slots=True)
class Changes:
    """One write: the operations of its changes, section by section. store: base64 that is to lie outside.

    brought: the blobs that it stored. What moves keeps its blob.
    """

    owner: Owner
    table: SectionTable
    store: Callable[[str], Blob]
    now: datetime
    present: Present
    operations: dict[str, list[Operation]] = field(default_factory=lambda: defaultdict(list))
    brought: set[str] = field(default_factory=set)
    _placed: dict[str, str] = field(default_factory=dict)

    def make(self, changes: Sequence[Change]) -> list[Written]:
        """Every change. Raises NotFound, Gone, Changed, Conflict, and what an edit raises."""
        # A Binary lies where the resource lies that it belongs to, which may come in the same write.
        order = sorted(range(len(changes)), key=lambda place: changes[place].resource_type == BINARY)
        made = dict[int, Written]()
        for place in order:
            with within(changes[place].place):
                made[place] = self._make(changes[place])
        return [made[place] for place in range(len(changes))]

    def _make(self, change: Change) -> Written:
        if change.new and change.edit:
            return self._put(change, change.local, change.edit(None), [])
        section, versions = self.present.get(change.local, ("", ()))
        if not versions or change.resource_type not in {one.operation.resource_type for one in versions}:
            raise NotFound
        newest = versions[-1]
        if not is_current(change.if_match, versions):
            raise Changed("the resource has changed since you read it; read it again")
        if newest.writer != OWNER:
            return self._amend(change, newest.operation)
        if change.edit is None:
            return self._end(change, section, newest.operation)
        return self._put(change, change.local, change.edit(_content(newest.operation)), versions)

    def _amend(self, change: Change, theirs: Put | Delete) -> Written:
        """Beside a source's resource; a second change goes on from the first."""
        if change.edit is None:
            raise Conflict(_NOT_OURS)
        if isinstance(theirs, Delete):
            raise Gone
        local = amendment(self.owner, change.local)
        _, versions = self.present.get(local, ("", ()))
        standing = _content(versions[-1].operation) if versions else None
        return self._put(change, local, change.edit(standing or loads(theirs.resource)), versions, change.local)

    def _put(
        self, change: Change, local: str, made: Resource, versions: Sequence[Version], amends: str = ""
    ) -> Written:
        before = versions[-1].operation if versions else None
        version = before.version + 1 if before else 1
        named = f"{change.resource_type}/{self.owner.vault}.{amends}" if amends else _amended(before)
        made = _own_form(made, f"{self.owner.vault}.{local}", named, change.origin.get(VERIFICATION, ""))
        taken = take_out(made, self.owner.vault, lambda _: new_local()) if made["resourceType"] != _DOCUMENT else ()
        data = take_own(made)
        section = self._section(made)
        put = owner_put(local, made, version, self.now)
        origin = {**change.origin, **put.origin, **({"amends": named} if named else {})}
        put = replace(put, origin=origin, blob=self._blob(data) if data else None)
        self.operations[section].append(put)
        self._placed[local] = section
        for one in taken:
            self._attach(one, section)
        self._leave(local, made, section)
        return _written(put, created=not isinstance(before, Put), amends=amends)

    def _end(self, change: Change, section: str, newest: Put | Delete) -> Written:
        """What has ended stays so: to end it twice is to end it once."""
        if isinstance(newest, Delete):
            return _written(newest)
        self._leave(change.local, {}, section)
        ended = self._ended(newest)
        self.operations[section].append(ended)
        return _written(ended)

    def _ended(self, newest: Put | Delete) -> Delete:
        kind, version = newest.resource_type, newest.version + 1
        updated, origin = instant(self.now), {"source": OWNER}
        return Delete(local=newest.local, resource_type=kind, version=version, updated=updated, origin=origin)

    def _section(self, made: Resource) -> str:
        """By the table; a Binary goes with the resource that its securityContext names, where that is here."""
        whole = (part_of(made) or "").partition("/")[2] if made["resourceType"] == BINARY else ""
        vault, _, local = whole.partition(".")
        if vault == self.owner.vault and (local in self._placed or local in self.present):
            return self._placed.get(local) or self.present[local][0]
        return self.table.section_of(made).section

    def _attach(self, one: Attached, section: str) -> None:
        put = owner_put(one.local, one.resource, 1, self.now)
        self.operations[section].append(replace(put, blob=self._blob(one.data)))

    def _blob(self, data: str) -> Blob:
        made = self.store(data)
        self.brought.add(made.id)
        return made

    def _leave(self, local: str, made: Resource, section: str) -> None:
        """What a new version leaves behind: itself in another section, and Binaries of it that it no longer names."""
        before, versions = self.present.get(local, (section, ()))
        newest = versions[-1].operation if versions else None
        if newest and before != section:
            self.operations[before].append(Remove(local=local, resource_type=newest.resource_type))
        names = {str(one.get("url")) for one in attachments(made)} if made else set()
        for binary in self._binaries(_content(newest), local):
            if f"{BINARY}/{self.owner.vault}.{binary.local}" not in names:
                self.operations[before].append(self._ended(binary))
            elif before != section:
                self.operations[before].append(Remove(local=binary.local, resource_type=BINARY))
                moved = owner_put(binary.local, loads(binary.resource), binary.version + 1, self.now)
                self.operations[section].append(replace(moved, blob=binary.blob))

    def _binaries(self, parent: Resource | None, local: str) -> list[Put]:
        """The owner's Binaries that a resource names and that belong to it."""
        found = list[Put]()
        for one in attachments(parent) if parent else ():
            vault, _, own = str(one.get("url")).removeprefix(f"{BINARY}/").partition(".")
            _, versions = self.present.get(own, ("", ())) if vault == self.owner.vault else ("", ())
            newest = versions[-1] if versions else None
            if newest and newest.writer == OWNER and isinstance(newest.operation, Put):
                context = part_of(loads(newest.operation.resource)) or ""
                if context.partition("/")[2] == f"{self.owner.vault}.{local}":
                    found.append(newest.operation)
        return found


def _content(operation: Put | Delete | None) -> Resource | None:
    return loads(operation.resource) if isinstance(operation, Put) else None


def _amended(before: Put | Delete | None) -> str:
    """What an earlier version amends, the next one does."""
    return str(before.origin.get("amends", "")) if before else ""


def _own_form(made: Resource, whole_id: str, amends: str, verified: str) -> Resource:
    """With its id here, and without what only this service says: whose it is, what it amends, how it was verified."""
    meta = unclaimed(made.get("meta") or {})
    if str(meta.get("source", "")).startswith(_SOURCES):
        del meta["source"]
    kept = meta.pop("extension", [])
    if amends:
        kept.append({"url": AMENDS_URL, "valueReference": {"reference": amends}})
    if verified:
        kept.append({"url": VERIFICATION_URL, "valueString": verified})
    meta |= {"extension": kept} if kept else {}
    first: dict[str, Any] = {"resourceType": made["resourceType"], "id": whole_id, "meta": meta}
    return first | made | {"id": whole_id, "meta": meta}


def _written(operation: Put | Delete, *, created: bool = False, amends: str = "") -> Written:
    return Written(
        resource_type=operation.resource_type,
        local=operation.local,
        version=operation.version,
        updated=operation.updated,
        body=operation.resource if isinstance(operation, Put) else None,
        blob=operation.blob if isinstance(operation, Put) else None,
        created=created,
        amends=amends,
    )
