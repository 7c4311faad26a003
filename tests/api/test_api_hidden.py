"""Hidden data changes no answer: every query, before and after something hidden came."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fhir_profiles.text import loads
from tests.api.http_world import HttpWorld

HIDDEN = Path(__file__).with_name("hidden.json")
QUERIES = (
    "/fhir/Patient/{p}",
    "/fhir/Patient/{p}/$everything",
    "/fhir/Patient/{p}/$everything?_count=2",
    "/fhir/Patient/{p}/$everything?_type=Condition,MedicationRequest",
    "/fhir/Patient/{p}/$everything?start=2026-06-01",
    "/fhir/Patient/$everything?end=2026-12-31",
    "/fhir/Patient/{p}/$summary",
    "/fhir/Observation/$lastn?patient={p}&category=laboratory&max=3",
    "/fhir/Observation/$lastn?patient={p}&code=44261-6",
    "/fhir/DocumentReference/$docref?patient={p}",
    "/fhir/Observation?patient={p}",
    "/fhir/Observation?patient={p}&_count=2",
    "/fhir/Observation?patient={p}&_summary=count",
    "/fhir/Observation?patient={p}&_total=accurate&_count=1",
    "/fhir/Observation?patient={p}&code=44261-6",
    "/fhir/Observation?patient={p}&date=ge2026-06-01",
    "/fhir/Observation?patient={p}&date=ne2026-06-01",
    "/fhir/Condition?patient={p}",
    "/fhir/Condition?patient={p}&code=http://fhir.de/CodeSystem/bfarm/icd-10-gm|F32.1",
    "/fhir/MedicationRequest?patient={p}&_total=accurate",
    "/fhir/Practitioner",
    "/fhir/Practitioner?_total=accurate",
    "/fhir/Organization",
    "/fhir/Observation?_lastUpdated=ge2026-01-01",
    "/fhir?_total=accurate",
    "/fhir?_type=Condition,Observation,MedicationRequest&_sort=-_lastUpdated,_id&_count=3",
    "/fhir/Patient/{p}/*?_total=accurate",
    "/fhir/Patient/{p}/Condition?_sort=code",
    "/fhir/Observation?_sort=-date,code&_count=2",
    "/fhir/Observation?_sort=code&_total=accurate&_count=1",
    "/fhir/Condition?_sort=code",
    "/fhir/Observation?_include=*",
    "/fhir/Observation?_include:iterate=*&_revinclude:iterate=*",
    "/fhir/Patient?_revinclude=*",
    "/fhir/Patient?_revinclude=Condition:subject&_revinclude=MedicationRequest:subject",
    "/fhir/Patient?_has:Condition:patient:code=F32.1",
    "/fhir/Patient?_has:Condition:patient:code=E11.90",
    "/fhir/Patient?_has:Condition:patient:code=F32.1&_summary=count",
    "/fhir/Observation?patient.identifier=none",
    "/fhir/Observation?patient._has:Condition:patient:code=F32.1",
    "/fhir/Observation?encounter.status=finished&_total=accurate",
    "/fhir/Encounter?_has:Observation:encounter:code=44261-6",
    "/fhir/Practitioner?_has:Condition:asserter:code=F32.1",
    "/fhir/Practitioner?_has:Condition:asserter:_id:not=none&_total=accurate",
    "/fhir/Observation?focus:missing=false",
    "/fhir/Observation?_sort=performer,-value-quantity&_count=2",
    "/fhir/Observation?_include:iterate=Observation:focus&_include=Observation:performer",
    "/fhir?_content=depressive&_total=accurate",
    "/fhir?_content=seelenfried",
    "/fhir?_text=depressive",
    "/fhir?_content=sommer&_sort=_lastUpdated",
    "/fhir/Observation?_summary=true&_total=accurate",
    "/fhir/Condition?_elements=code",
)


_DRAWN = re.compile(r"(?<=_page=)[^\"&]+|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""What is drawn anew in every answer: a page link, a document's identifier."""


def _answers(world: HttpWorld, who: str) -> list[tuple[str, int, str]]:
    caller, whole = world.token(who), world.patients["erika"]
    found = []
    for query in QUERIES:
        answer = world.get(query.format(p=whole), caller)
        found.append((query, answer.status_code, _DRAWN.sub(lambda drawn: f"{len(drawn[0])} drawn", answer.text)))
    return found


@pytest.mark.attack(12, 13, 14, 15)
@pytest.mark.parametrize("who", ["praxis", "labor"])
def test_hidden_data_changes_no_answer(fresh: HttpWorld, who: str) -> None:
    before = _answers(fresh, who)
    fresh.clinic.load(loads(HIDDEN.read_bytes()), "hidden")
    stored = sum(outcome.stored for outcome in fresh.sync())
    assert stored == 4  # the three hidden things, and the therapist whom they name
    whole = fresh.patients["erika"]
    hidden = fresh.get(f"/fhir/Condition?patient={whole}&code=F32.1", fresh.owner())
    assert hidden.json()["total"] == 1
    assert _answers(fresh, who) == before


@pytest.mark.attack(14)
def test_search_read_and_everything_agree(shared: HttpWorld) -> None:
    caller, whole = shared.token("praxis"), shared.patients["erika"]
    everything = {(one["resourceType"], one["id"]) for one in shared.everything(caller)}
    searched = {
        (kind, entry["resource"]["id"])
        for kind in {kind for kind, _ in everything}
        for entry in shared.get(f"/fhir/{kind}?_count=100", caller).json().get("entry", [])
    }
    assert searched == everything
    for kind, one in everything:
        assert shared.get(f"/fhir/{kind}/{one}", caller).status_code == 200
    hidden = {(one["resourceType"], one["id"]) for one in shared.everything(shared.owner())} - everything
    assert {kind for kind, _ in hidden} == {"Consent"}
    for kind, one in hidden:
        assert shared.get(f"/fhir/{kind}/{one}", caller).status_code == 404
    assert whole
