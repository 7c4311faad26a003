"""An account of what came from each source: where every item is now, and how many bytes of JSON the sources showed.

Both are read with the patient's own keys, from the truth and the quarantine, and compared with the sources themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import httpx

from aggregator.api.service import Service
from aggregator.demo.residents import SignedIn
from aggregator.demo.sources import CLINIC
from aggregator.demo.world import World
from aggregator.sync import quarantine
from aggregator.sync.registry import Source
from aggregator.vault import view as views
from aggregator.vault.keys import OWNER, IdKey
from connectors.contract import Found
from fhir_profiles.text import dumps


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One patient's. shown: (source authority, source id) of all that is in the truth; aside: local id of what is in
    the quarantine -> bytes of its JSON, 0 where the payload is no JSON or was not kept."""

    patient: SignedIn
    ids: IdKey
    shown: frozenset[tuple[str, str]]
    aside: Mapping[str, int]

    def entries(self, entries: Iterable[str | None]) -> Counter[str]:
        """Where each entry of a Bundle ("Type/id" at the clinic) is: stored, quarantined, missing."""
        return Counter(map(self._place, entries))

    def _place(self, entry: str | None) -> str:
        if entry is None:
            return "missing"
        if (CLINIC, entry) in self.shown:
            return "stored"
        account = self.patient.resident.accounts[CLINIC]["patient_id"]
        return "quarantined" if self.ids.local(CLINIC, account, entry) in self.aside else "missing"


def account_for(world: World, patient: SignedIn) -> Account:
    """Read one vault's truth and quarantine as its owner."""
    service = world.served.service
    owner = service.accounts.owner(patient.token)
    state = views.read_truth(service.store, owner.vault, views.owner(owner.root, owner.sections, owner.patient))
    origins = [put.origin for _, put in state.current()]
    items = quarantine.opened(service.store, owner.vault, partial(owner.seed, "unsorted"))
    return Account(
        patient=patient,
        ids=owner.root.ids(),
        shown=frozenset((one["source"], one["source_id"]) for one in origins if one["source"] != OWNER),
        aside={item["item"]: _json_size(item["raw"]) for item in items},
    )


def _json_size(raw: str | None) -> int:
    return len(raw.encode()) if raw and raw.startswith("{") else 0


async def raw_bytes(world: World, accounts: list[Account]) -> int:
    """Bytes of JSON as received: of each item of each connection once, in the form the source showed it.

    A FHIR server is asked what it holds of the item; what comes from a practice's folder counts as the JSON that its
    connector made of it. What stands aside counts as it was kept.
    """
    servers = world.served.sources.servers
    folders = await _folder_sizes(world)
    total = 0
    for account in accounts:
        total += sum(account.aside.values())
        for authority, source_id in account.shown:
            if authority in servers:
                total += len(servers[authority].body(source_id) or b"")
            else:
                total += folders[authority].get(source_id, 0)
    return total


async def _folder_sizes(world: World) -> dict[str, dict[str, int]]:
    """Authority -> source id -> bytes of JSON, of all that the practices' folders hold."""
    service = world.served.service
    made: dict[str, dict[str, int]] = {}
    async with service.worker.client() as client:
        for source in service.registry:
            if source.authority not in world.served.sources.servers:
                settings = [one.resident.accounts.get(source.authority) for one in world.patients]
                wanted = [{}] if source.is_feed else [one for one in settings if one]
                made[source.authority] = {}
                for account in wanted:
                    made[source.authority] |= await _pulled(service, source, account, client)
    return made


async def _pulled(
    service: Service, source: Source, account: Mapping[str, str], client: httpx.AsyncClient
) -> dict[str, int]:
    connector = source.connector(account, client, service.clock)
    return {
        item.origin.source_id: len(dumps(item.resource))
        async for batch in connector.pull(None)
        for item in batch.items
        if isinstance(item, Found)
    }
