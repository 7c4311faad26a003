"""What an owner writes, one resource or the entries of a transaction: all of it in one commit with its receipt.

https://hl7.org/fhir/R4/http.html#transaction. A single interaction is a transaction of one entry. Conditions are
judged in the owner's view, and count only for the record as it is then: where it has moved on, they are judged anew.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from aggregator.api.access import Access, Act
from aggregator.api.caller import Principal
from aggregator.api.service import Service
from aggregator.errors import Busy, CallerError, Changed, Stale, within
from aggregator.fhir.bundle import Answer
from aggregator.fhir.condition import Condition, found
from aggregator.fhir.entries import Entry, in_order
from aggregator.fhir.outcome import NotAllowed, NotFound, Unmatched
from aggregator.fhir.patch import patched
from aggregator.fhir.relink import Linking, conditions
from aggregator.fhir.resource_types import TYPES
from aggregator.fhir.validity import refuse_invalid
from aggregator.identity.accounts import Owner
from aggregator.identity.owner_changes import Change, Edit, Written, new_local
from aggregator.vault.encoding import instant_of
from aggregator.vault.image import Record
from aggregator.vault.view import View

NOT_WRITTEN: Mapping[str, str] = {
    "Consent": "a Consent is signed: by POST or PUT of its own, not within a Bundle; it ends with another status",
    "Patient": "the record's one Patient is corrected by PUT of its own, not within a Bundle; there is no other",
    "AuditEvent": "this is made of the receipts when it is read",
    "Provenance": "this is made of where a resource came from when it is read",
}
"""Types that have another way, or none: what to tell who writes one."""

WRITTEN = TYPES - NOT_WRITTEN.keys()

_TRIES = 4
_WHOLE_ID = re.compile(r"[a-z2-7]{26}\.[a-z2-7]{26}")
_IDS_ARE_MADE_HERE = "ids are made here: create it by POST, and read its id in the answer's Location"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of an entry. written: the resource as it is now; None where there was nothing to do."""

    status: int
    written: Written | None = None


@dataclass(frozen=True, slots=True)
class _Judged:
    """What conditions find, in the view at this log position; None where there were none."""

    found: Mapping[Condition, Sequence[Written]]
    position: int | None


class OwnWriting:
    """Writes for owners. base_url: of the FHIR API."""

    def __init__(self, service: Service, access: Access, base_url: str) -> None:
        self._service = service
        self._access = access
        self._base_url = base_url

    async def write(self, principal: Principal, act: Act, entries: Sequence[Entry]) -> list[Done]:
        """All of these or nothing, in the order in which they stand.

        Raises NotValid, NotFound, Gone, Changed, Conflict, Ambiguous, and what else keeps one of them from being done.
        """
        for entry in entries:
            if entry.resource is not None and entry.method != "PATCH":
                refuse_invalid(entry.resource, entry.place)
        for _ in range(_TRIES):
            judged = await self._judge(principal, act, entries)
            try:
                return await asyncio.to_thread(self._write, principal, act, entries, judged)
            except Busy:
                raise
            except Stale:
                continue
        raise Stale("the record keeps changing; try again")

    async def _judge(self, principal: Principal, act: Act, entries: Sequence[Entry]) -> _Judged:
        """In the view, with a receipt as for any search."""
        wanted = {one: entry.place for entry in entries for one in self._conditions(entry)}
        if not wanted:
            return _Judged({}, None)
        seen = list[_Judged]()

        def ask(view: View) -> Answer:
            matches = dict[Condition, Sequence[Written]]()
            for one, place in wanted.items():
                with within(place):
                    matches[one] = [_as_it_is(view, match) for match in found(view, one, self._base_url)]
            seen[:] = [_Judged(matches, view.log_position)]
            return Answer(b"", sum(map(len, matches.values())))

        await self._access.answer(principal, principal.as_owner().vault, act, ask)
        return seen[0]

    def _conditions(self, entry: Entry) -> Iterator[Condition]:
        """Of an entry, and of the links in its resource."""
        if own := entry.condition(self._base_url):
            yield own
        yield from conditions(entry.resource)

    def _write(self, principal: Principal, act: Act, entries: Sequence[Entry], judged: _Judged) -> list[Done]:
        owner = principal.as_owner()
        plan = _Plan(owner, self._base_url, judged.found)
        for entry in in_order(entries):
            with within(entry.place):
                plan.add(entry)
        changes = [change for step in plan.steps for change in step.changes]
        receipt = self._access.receipt(principal, owner.vault, act, written=len(changes))
        made = iter(self._service.writing.write(owner, changes, receipt, judged.position))
        done = {
            step.entry.place: step.done or _done(step.entry, [next(made) for _ in step.changes]) for step in plan.steps
        }
        return [done[entry.place] for entry in entries]


def _done(entry: Entry, written: Sequence[Written]) -> Done:
    """Of several that ended together there is no one version to tell."""
    status = 204 if entry.method == "DELETE" else 201 if written[0].created else 200
    return Done(status=status, written=written[0] if len(written) == 1 else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """An entry, and the changes that it asks for, or what it comes to without one."""

    entry: Entry
    changes: Sequence[Change] = ()
    done: Done | None = None


@dataclass(slots=True)
class _Plan:
    """The changes of several entries. matches: what their conditions find; targets: what their links come to mean."""

    owner: Owner
    base_url: str
    matches: Mapping[Condition, Sequence[Written]]
    steps: list[_Step] = field(default_factory=list)
    _targets: dict[str, str] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)

    def add(self, entry: Entry) -> None:
        """Plan one more entry. What its links mean is looked up when it is written: a later entry may say it."""
        for linked in conditions(entry.resource):
            self._point(entry, linked)
        resource_type, whole_id = entry.target(self.base_url)
        if resource_type in NOT_WRITTEN:
            raise NotAllowed(NOT_WRITTEN[resource_type])
        if entry.resource and entry.method != "PATCH" and entry.resource["resourceType"] != resource_type:
            raise CallerError("the resource is not of the type in the URL")
        condition = entry.condition(self.base_url)
        found = self.matches[condition] if condition else ()
        step = _STEPS[entry.method](self, entry, resource_type, whole_id, found)
        self.steps.append(step)
        changed = {change.local for change in step.changes}
        if changed & self._taken:
            raise CallerError("two entries of a transaction change one resource")
        self._taken |= changed
        self._name(entry, resource_type, next(iter(changed), found[0].local if found else ""))

    def create(self, entry: Entry, resource_type: str, whole_id: str, found: Sequence[Written]) -> _Step:
        """https://hl7.org/fhir/R4/http.html#create"""
        if whole_id:
            raise CallerError("a resource is created by POST to its type")
        if found:
            return _Step(entry=entry, done=Done(status=200, written=found[0]))
        return _Step(entry=entry, changes=[self._change(entry, resource_type, new_local(), new=True)])

    def update(self, entry: Entry, resource_type: str, whole_id: str, found: Sequence[Written]) -> _Step:
        """https://hl7.org/fhir/R4/http.html#update"""
        stated = (entry.resource or {}).get("id")
        if not whole_id and not found:
            if stated is not None:
                raise NotAllowed(_IDS_ARE_MADE_HERE)
            if entry.if_match() is not None:
                raise Changed("there is no such resource")
            return self.create(entry, resource_type, "", ())
        local = self._local(whole_id, found)
        if stated not in (None, f"{self.owner.vault}.{local}"):
            raise CallerError.at(f"{resource_type}.id", "is not the one in the URL")
        return _Step(entry=entry, changes=[self._change(entry, resource_type, local)])

    def patch(self, entry: Entry, resource_type: str, whole_id: str, found: Sequence[Written]) -> _Step:
        """https://hl7.org/fhir/R4/http.html#patch"""
        apply = patched(entry.resource or {}, entry.place)
        linking = Linking(base_url=self.base_url, targets=self._targets)
        local = self._local(whole_id, found)
        change = _changed(entry, resource_type, local, lambda now: linking.relinked(apply(now)))
        return _Step(entry=entry, changes=[change])

    def delete(self, entry: Entry, resource_type: str, whole_id: str, found: Sequence[Written]) -> _Step:
        """https://hl7.org/fhir/R4/http.html#delete; all that a condition finds, #cdelete"""
        if not whole_id and not found:
            return _Step(entry=entry, done=Done(status=204))
        ended = [self._local(whole_id, ())] if whole_id else [one.local for one in found]
        return _Step(entry=entry, changes=[_changed(entry, resource_type, local, None) for local in ended])

    def _change(self, entry: Entry, resource_type: str, local: str, *, new: bool = False) -> Change:
        linking, resource = Linking(base_url=self.base_url, targets=self._targets), entry.resource or {}
        return _changed(entry, resource_type, local, lambda _: linking.relinked(resource), new=new)

    def _local(self, whole_id: str, found: Sequence[Written]) -> str:
        """Raises NotAllowed for an id of another form, NotFound for one of another record, or where none was found."""
        if not whole_id:
            if not found:
                raise NotFound
            return found[0].local
        if not _WHOLE_ID.fullmatch(whole_id):
            raise NotAllowed(_IDS_ARE_MADE_HERE)
        vault, _, local = whole_id.partition(".")
        if vault != self.owner.vault:
            raise NotFound
        return local

    def _point(self, entry: Entry, condition: Condition) -> None:
        found = self.matches[condition]
        if not found:
            raise Unmatched(entry.place)
        whole = f"{condition.resource_type}/{self.owner.vault}.{found[0].local}"
        self._targets[f"{condition.resource_type}?{condition.query}"] = whole

    def _name(self, entry: Entry, resource_type: str, local: str) -> None:
        """What the other entries call it."""
        if not entry.full_url or not local or entry.method not in ("POST", "PUT"):
            return
        whole = f"{resource_type}/{self.owner.vault}.{local}"
        relative = f"{resource_type}/{(entry.resource or {}).get('id')}"
        self._targets[entry.full_url] = whole
        if entry.full_url.endswith(f"/{relative}"):
            self._targets[relative] = whole


_STEPS: Mapping[str, Callable[[_Plan, Entry, str, str, Sequence[Written]], _Step]] = {
    "POST": _Plan.create,
    "PUT": _Plan.update,
    "PATCH": _Plan.patch,
    "DELETE": _Plan.delete,
}


def _changed(entry: Entry, resource_type: str, local: str, edit: Edit | None, *, new: bool = False) -> Change:
    return Change(
        resource_type=resource_type, local=local, edit=edit, new=new, if_match=entry.if_match(), place=entry.place
    )


def _as_it_is(view: View, record: Record) -> Written:
    return Written(
        resource_type=record.resource_type,
        local=record.local,
        version=record.version,
        updated=instant_of(record.updated),
        body=record.body,
        blob=view.image.blob(record.resource_type, record.local),
    )
