"""A condition that holds of all resources of its type is not asked about; one that fails for a single one is."""

from __future__ import annotations

import pytest

from aggregator.fhir import query
from aggregator.fhir.plan import plan
from fhir_profiles.text import dumps, loads
from tests.fhir.world import BASE, VAULT, handmade, pairs, record, view_of

OF_ERIKA = f"patient={VAULT}.erika"


def observations(*patients: str) -> list[bytes]:
    """One of each of these patients, all with one code."""
    (first,) = [one.body for one in handmade() if one.local == "hba1c-2024"]
    made = []
    for number, patient in enumerate(patients):
        changed = {"id": f"{VAULT}.o{number}", "subject": {"reference": f"Patient/{VAULT}.{patient}"}}
        made.append(dumps(loads(first) | changed))
    return made


@pytest.mark.parametrize(
    ("patients", "asked", "tables", "found"),
    [
        (("erika", "erika"), f"{OF_ERIKA}&code=4548-4", {"posting"}, ["o0", "o1"]),
        (("erika", "klinik"), f"{OF_ERIKA}&code=4548-4", {"posting", "link"}, ["o0"]),
        (("erika", "erika"), f"{OF_ERIKA}&date=2024", {"span"}, ["o0", "o1"]),
        (("erika", "erika"), OF_ERIKA, {"resource"}, ["o0", "o1"]),
        (("erika", "klinik"), OF_ERIKA, {"link"}, ["o0"]),
    ],
)
def test_what_holds_of_all_is_not_asked(
    patients: tuple[str, ...], asked: str, tables: set[str], found: list[str]
) -> None:
    view = view_of(
        [*(one for one in handmade() if one.resource_type == "Patient"), *map(record, observations(*patients))]
    )
    conditions = query.parse(["Observation"], pairs(asked), base_url=BASE, strict=True).conditions["Observation"]
    made = plan(view, "Observation", conditions)
    assert {table for table in ("posting", "link", "span", "resource") if f"{table} r" in made.rows} == tables
    assert [one.local for one in made.page(view.image, 0, 10)] == found
