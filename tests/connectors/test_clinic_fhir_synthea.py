"""Whole Synthea records, pulled from the demo's clinic: everything arrives, once in JSON and once in XML."""

import asyncio
import os
from pathlib import Path

import httpx
import pytest

from aggregator.demo.clinic import Clinic
from connectors.contract import Batch, Found
from connectors.fhir_account import FhirAccount
from fhir_profiles.text import Resource, loads
from tests.connectors.fhir_source import NOW, settings

_DATA = Path(os.environ.get("AGGREGATOR_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "fhir-synthea"


def _loaded(folder: Path) -> tuple[Clinic, dict[str, set[str]]]:
    """A clinic with these Bundles; what each Patient's Bundle held, by the Patient's id."""
    clinic, held = Clinic(lambda: NOW), {}
    bundles: dict[str, Resource] = {path.name: loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))}
    of_patients = {
        name
        for name, bundle in bundles.items()
        if any(e["resource"]["resourceType"] == "Patient" for e in bundle["entry"])
    }
    for name in sorted(bundles, key=lambda name: (name in of_patients, name)):
        loaded = clinic.load(bundles[name], name)
        for patient in (one.id for one in loaded if one.resource_type == "Patient"):
            held[patient] = {f"{one.resource_type}/{one.id}" for one in loaded}
    return clinic, held


async def _pull(clinic: Clinic, patient_id: str, accept: str) -> list[Batch]:
    clinic.access.allow(patient_id, patient_id)
    changed = {"base_url": "http://127.0.0.1/fhir", "patient_id": patient_id, "bearer_token": patient_id}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(clinic.app())) as client:
        account = FhirAccount(settings(**changed, headers={"Accept": accept}), client, lambda: NOW)
        return [batch async for batch in account.pull(None)]


@pytest.mark.outside
@pytest.mark.parametrize("accept", ["application/fhir+json", "application/fhir+xml"])
@pytest.mark.parametrize("name", ["smart-generated-sample-data-r4", "samply-blaze-r4"])
def test_every_entry_of_a_patient_is_pulled(name: str, accept: str) -> None:
    if not (_DATA / name).is_dir():
        pytest.skip("the test data are not there")
    clinic, held = _loaded(_DATA / name)
    for patient_id, entries in held.items():
        batches = asyncio.run(_pull(clinic, patient_id, accept))
        items = [item for batch in batches for item in batch.items]
        assert all(isinstance(item, Found) for item in items)
        assert entries <= {item.origin.source_id for item in items} == batches[-1].listed
        assert [batch.cursor is None for batch in batches] == [True] * (len(batches) - 1) + [False]
