"""A patient summary: put together of a whole open view, of which it parses most."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from aggregator.fhir.patient_summary import Making, summary
from aggregator.vault import view
from tests.bench.figure import Figure, late, middle, repeated
from tests.bench.installation import Installation
from tests.bench.vault_figures import grantee

_TARGET = 15.0  # milliseconds
_BASE = "https://record.example/fhir"


def summaries(installation: Installation, number: int, runs: int) -> Iterator[Figure]:
    """As the owner and as the provider sees it."""
    owner, service = installation.owner, installation.service
    making = Making(base_url=_BASE, now=service.clock(), id=uuid.UUID(int=1))
    for name, reader in (
        ("owner", view.owner(owner.root, owner.sections, owner.patient)),
        ("grantee", grantee(installation)),
    ):
        opened = view.open_view(service.store, owner.vault, reader, service.indexer)
        whole_id = f"{owner.vault}.{owner.patient}"
        times = repeated(lambda: summary(opened, whole_id, making), runs)  # noqa: B023 - called at once
        opened.close()
        named = f"$summary of {number}, {name}"
        yield Figure(name=f"{named}, median", value=middle(times) * 1e3, unit="ms", better="lower", target=_TARGET)
        yield Figure(name=f"{named}, p99", value=late(times) * 1e3, unit="ms", better="lower")
