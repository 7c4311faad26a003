"""All interactions and operations in one table: what is answered, and what the CapabilityStatement says of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from aggregator import __version__
from aggregator.api import oauth_table
from aggregator.api.access import Access
from aggregator.api.caller import Callers
from aggregator.api.fhir import (
    binary,
    bulk,
    consent,
    create,
    delete,
    docref,
    everything,
    group,
    history,
    last_n,
    metadata,
    patch,
    patient,
    patient_summary,
    read,
    search,
    transaction,
    update,
    validate,
)
from aggregator.api.fhir.interaction import Interaction, Operation
from aggregator.api.fhir.router import PREFIX, Router
from aggregator.api.fhir.server import Server
from aggregator.api.pages import Pages
from aggregator.api.service import Service
from aggregator.fhir import capability
from aggregator.fhir.capability import Served, Software
from aggregator.portability.bulk_exports import BulkExports

_SOFTWARE = Software(name="Patient record aggregator", version=__version__, changed=datetime(2026, 11, 30, tzinfo=UTC))

# The first that fits answers: the busiest first, and what is for one type before what is for all.
TABLE: tuple[Interaction | Operation, ...] = (
    *search.INTERACTIONS,
    *binary.INTERACTIONS,
    *group.INTERACTIONS,
    *read.INTERACTIONS,
    *everything.OPERATIONS,
    *patient_summary.OPERATIONS,
    *last_n.OPERATIONS,
    *docref.OPERATIONS,
    *validate.OPERATIONS,
    *bulk.OPERATIONS,
    *consent.INTERACTIONS,
    *patient.INTERACTIONS,
    *create.INTERACTIONS,
    *update.INTERACTIONS,
    *patch.INTERACTIONS,
    *delete.INTERACTIONS,
    *history.INTERACTIONS,
    *transaction.INTERACTIONS,
    *metadata.INTERACTIONS,
)


def router(service: Service, callers: Callers, access: Access) -> Router:
    """All of /fhir, on one installation."""
    base = f"{service.base_url}{PREFIX}"
    server = Server(
        service=service,
        callers=callers,
        access=access,
        pages=Pages(service.key_service, base),
        exports=BulkExports(service.store, service.key_service, service.clock),
        base=base,
        capability=statement(base),
    )
    return Router(server, TABLE)


def statement(base: str) -> bytes:
    """The CapabilityStatement of the table."""
    whole = _served("", [one for one in TABLE if not one.types])
    security = oauth_table.security(base.removesuffix(PREFIX))
    return capability.capability(_SOFTWARE, base, _by_type(), whole, security)


def _by_type() -> list[Served]:
    of_type = defaultdict[str, list[Interaction | Operation]](list)
    for one in TABLE:
        for resource_type in one.types:
            of_type[resource_type].append(one)
    return [_served(resource_type, of_type[resource_type]) for resource_type in sorted(of_type)]


def _served(resource_type: str, found: list[Interaction | Operation]) -> Served:
    claims = dict[str, Any]()
    for one in found:
        claims |= one.claims if isinstance(one, Interaction) else {}
    return Served(
        resource_type=resource_type,
        interactions=_codes(one for one in found if isinstance(one, Interaction)),
        operations={one.name: one.definition for one in found if isinstance(one, Operation) and one.definition},
        claims=claims,
    )


def _codes(interactions: Iterable[Interaction]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.code for one in interactions))
