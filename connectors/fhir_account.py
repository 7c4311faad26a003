"""One patient's account at a FHIR server, and how everything in it is pulled.

Order: CapabilityStatement, the Patient, each type of the Patient compartment by its search, then what those refer to
and no patient owns (practitioners, organizations ...), until nothing new is referred to.

What is new is asked for by `_lastUpdated`, counted from the server's clock: the Date header of the CapabilityStatement.
It is taken before the first search, so nothing that changes meanwhile falls between two runs, and every HTTP server
sends it, while Bundle.meta.lastUpdated is optional and may be that of a cached search. Each run looks `overlap` further
back, for what was written but not yet visible. A server without a clock is listed in full each time.

What is gone is told by `_history` where the server offers it for all types, or for the system: what was deleted there,
and what now names another patient. It cannot be asked for one patient's alone, so ids come along that the record never
held. Elsewhere every `full_listing_every`-th run pulls everything and says so (Batch.listed).

The only cursor is in the last batch: before, a run that breaks off has not seen everything.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import httpx
from pydantic import SecretStr

from connectors import fhir_items
from connectors.contract import (
    Batch,
    Clock,
    Cursor,
    Found,
    Item,
    NeedsOperator,
    NeedsPatient,
    Reason,
    Skipped,
    SourceChanged,
)
from connectors.fhir_rest import Capabilities, FhirServer
from connectors.fhir_settings import FhirAccountSettings
from connectors.http import BearerToken, Credential, NoCredential, Source
from connectors.patient_compartment import DIRECTORY, PATIENT_PARAMETER
from connectors.smart_backend import BackendSignIn, Client

_BATCH = 200  # items in a batch: small pages are gathered, large ones divided
_IDS = 50  # ids in one `_id=a,b,c`: 50 of 64 characters stay below what servers take as an address
_ROUNDS = 16  # Organization.partOf and the like; a real chain has three or four links
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Progress:
    """What the cursor remembers. since: the server's clock at the last run. types: of all that ever came."""

    since: datetime | None = None
    run: int = 0
    types: frozenset[str] = frozenset()

    @classmethod
    def read(cls, cursor: Cursor | None) -> _Progress:
        """A cursor that does not read is one of another version: begin anew, which loses nothing."""
        try:
            told = json.loads(cursor or "{}")
            since = datetime.strptime(told["since"], _TIME).replace(tzinfo=UTC)
            return cls(since=since, run=int(told["run"]), types=frozenset(told["types"]))
        except (ValueError, TypeError, KeyError):
            return cls()

    def cursor(self) -> Cursor | None:
        """None without the server's clock: the next run begins anew."""
        if self.since is None:
            return None
        told = {"since": self.since.astimezone(UTC).strftime(_TIME), "run": self.run, "types": sorted(self.types)}
        return Cursor(json.dumps(told))


class FhirAccount:
    """The connector of one account (see connectors/contract.py)."""

    def __init__(self, settings: FhirAccountSettings, client: httpx.AsyncClient, clock: Clock) -> None:
        source = Source(
            client,
            settings.base_url,
            credential=_credential(settings, client, clock),
            clock=clock,
            headers={"Accept": SecretStr("application/fhir+json"), **settings.headers},
        )
        self._settings = settings
        self._server = FhirServer(source)
        self._clock = clock

    async def check(self) -> None:
        """Prove that the server is one of FHIR R4, lets us in and knows the patient, or raise ConnectorError."""
        await self._server.capabilities()
        await _patient(self._server, self._settings.patient_id)

    async def pull(self, cursor: Cursor | None) -> AsyncIterator[Batch]:
        """All that is new since the cursor; the batch that ends the run carries the next one."""
        before = _Progress.read(cursor)
        capabilities = await self._server.capabilities()
        run = _Run(self._settings, self._server, capabilities, before, self._clock())
        waiting: list[Item] = []
        async for items in run.items():
            waiting += items
            while len(waiting) > _BATCH:
                yield Batch(tuple(waiting[:_BATCH]))
                del waiting[:_BATCH]
        yield Batch(tuple(waiting), cursor=run.after.cursor(), listed=run.listed)


def _credential(settings: FhirAccountSettings, client: httpx.AsyncClient, clock: Clock) -> Credential:
    if settings.bearer_token is not None:
        return BearerToken(settings.bearer_token)
    if settings.client_id is None or settings.private_key_file is None:
        return NoCredential()
    registered = Client(
        client_id=settings.client_id,
        private_key_file=settings.private_key_file,
        scope=settings.scope,
        token_url=settings.token_url,
    )
    return BackendSignIn(client, settings.base_url, registered, clock)


async def _patient(server: FhirServer, patient_id: str) -> dict[str, Any]:
    patient = await server.read("Patient", patient_id)
    if patient is None:
        raise NeedsPatient("The source no longer knows this account: the patient must connect it again.")
    if fhir_items.name(patient) != f"Patient/{patient_id}":
        raise SourceChanged("The source answered with something other than the Patient that was asked for.")
    return patient


class _Run:
    """One run: what to ask for, and what has been seen and referred to on the way."""

    def __init__(
        self,
        settings: FhirAccountSettings,
        server: FhirServer,
        capabilities: Capabilities,
        before: _Progress,
        now: datetime,
    ) -> None:
        self._settings, self._server, self._offered, self._now = settings, server, capabilities, now
        self._account = fhir_items.Account(
            base=str(server.base),
            patient_id=settings.patient_id,
            types=frozenset({"Patient", *settings.resource_types}),
        )
        searchable = (name for name in settings.resource_types if capabilities.offers(name, "search-type"))
        self._types = tuple(name for name in searchable if name in PATIENT_PARAMETER)
        if not self._types:
            raise NeedsOperator("The source offers no search for any of resource_types: the operator must check both.")
        self._histories = _histories(self._types, capabilities)
        self._since = self._begin(before)
        self._seen: set[str] = set()
        self._found: set[str] = set()
        self._referred: set[str] = set()
        self._before = before

    def _begin(self, before: _Progress) -> datetime | None:
        """From when on to ask; None for everything: at first, at a listing, and after the server's clock went back."""
        due = not self._histories and before.run % self._settings.full_listing_every == 0
        told = self._offered.date
        if before.since is None or told is None or before.since > told or due:
            return None
        return before.since - timedelta(minutes=self._settings.overlap_minutes)

    @property
    def after(self) -> _Progress:
        """What the next run needs to know of this one, once it is over."""
        came = {name.partition("/")[0] for name in self._found}
        return _Progress(since=self._offered.date, run=self._before.run + 1, types=self._before.types | came)

    @property
    def listed(self) -> frozenset[str] | None:
        """What a full listing saw. None where a type that came before was not asked for: that is not its deletion."""
        asked = {"Patient", *self._types, *(name for name in DIRECTORY if self._in_directory(name))}
        return frozenset(self._seen) if self._since is None and self.after.types <= asked else None

    async def items(self) -> AsyncIterator[list[Item]]:
        """The items of the run, page by page, in the order the module says."""
        yield self._taken([await _patient(self._server, self._settings.patient_id)])
        for resource_type in self._types:
            async for entries in self._server.pages(resource_type, self._query(resource_type), "searchset"):
                yield self._taken(_resources(entries))
        async for items in self._directory():
            yield items
        if self._since is not None:
            async for items in self._deletions(self._since):
                yield items

    def _query(self, resource_type: str) -> dict[str, str]:
        parameters = PATIENT_PARAMETER | self._settings.patient_parameters
        query = {parameters[resource_type]: self._settings.patient_id, "_count": str(self._settings.page_size)}
        return query if self._since is None else query | {"_lastUpdated": f"ge{self._since.strftime(_TIME)}"}

    def _taken(self, resources: Iterable[Any]) -> list[Item]:
        items = [fhir_items.item(self._account, resource, self._now) for resource in resources]
        for item in items:
            if not isinstance(item, Skipped) or item.reason is not Reason.OTHER_PERSON:
                self._seen.add(item.origin.source_id)
            if isinstance(item, Found):
                self._found.add(item.origin.source_id)
                self._referred.update(fhir_items.references(item.resource))
        return items

    async def _directory(self) -> AsyncIterator[list[Item]]:
        """What was referred to and no patient owns, and what that refers to in turn."""
        asked: set[str] = set()
        for _ in range(_ROUNDS):
            wanted = sorted(name for name in self._referred - self._seen - asked if self._in_directory(name))
            if not wanted:
                return
            asked.update(wanted)
            for resource_type in DIRECTORY:
                ids = [name.partition("/")[2] for name in wanted if name.startswith(f"{resource_type}/")]
                async for items in self._looked_up(resource_type, ids):
                    yield items
        raise SourceChanged("The source's directory refers to ever more entries.")

    def _in_directory(self, name: str) -> bool:
        resource_type = name.partition("/")[0]
        offered = self._offered.offers(resource_type, "search-type") or self._offered.offers(resource_type, "read")
        return offered and resource_type in DIRECTORY and resource_type in self._settings.resource_types

    async def _looked_up(self, resource_type: str, ids: list[str]) -> AsyncIterator[list[Item]]:
        if self._offered.offers(resource_type, "search-type"):
            for group in _divided(ids, _IDS):
                query = {"_id": ",".join(group), "_count": str(self._settings.page_size)}
                asked = {f"{resource_type}/{local_id}" for local_id in group}
                async for entries in self._server.pages(resource_type, query, "searchset"):
                    yield self._taken(
                        resource for resource in _resources(entries) if fhir_items.name(resource) in asked
                    )
        else:
            for local_id in ids:
                resource = await self._server.read(resource_type, local_id)
                yield self._taken([] if resource is None else [resource])

    async def _deletions(self, since: datetime) -> AsyncIterator[list[Item]]:
        """What was deleted or given to another patient. A history is everyone's; nothing else of it is looked at."""
        decided: set[str] = set()  # a history begins with the newest: what was made anew later is not gone
        query = {"_since": since.strftime(_TIME), "_count": str(self._settings.page_size)}
        for target in self._histories:
            async for entries in self._server.pages(target, query, "history"):
                yield [gone for entry in entries for gone in self._newly_gone(entry, decided)]

    def _newly_gone(self, entry: Any, decided: set[str]) -> Iterator[Item]:
        target = fhir_items.history_target(self._account, entry)
        if target is None or target in decided or target.partition("/")[0] not in self._types:
            return
        decided.add(target)
        gone = fhir_items.gone(self._account, entry, self._now)
        if gone is not None:
            yield gone


def _histories(types: tuple[str, ...], offered: Capabilities) -> tuple[str, ...]:
    """Which histories tell every deletion; none where the server offers neither each type's nor its own."""
    if types and all(offered.offers(name, "history-type") for name in types):
        return tuple(f"{name}/_history" for name in types)
    return ("_history",) if "history-system" in offered.system else ()


def _resources(entries: list[Any]) -> Iterator[Any]:
    """The resources in a searchset, less the server's own remarks on the search."""
    for entry in entries:
        search = entry.get("search") if isinstance(entry, dict) else None
        if not isinstance(search, dict) or search.get("mode") != "outcome":
            yield entry.get("resource") if isinstance(entry, dict) else entry


def _divided(items: list[_T], size: int) -> Iterator[list[_T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
