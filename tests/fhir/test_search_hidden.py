"""A grantee's searches with and without hidden data: none tells it, and each would if the lock were open."""

from __future__ import annotations

from typing import Any

import pytest

from aggregator.consent import decide
from aggregator.fhir.search import search
from aggregator.vault.envelope import Put
from fhir_profiles.codes import LOINC
from fhir_profiles.profiles import SECTION_SYSTEM
from tests.fhir.world import LINKS, pairs
from tests.vault.world import World
from tests.weaken import weakens

SECRET = "75325-1"
QUERIES: dict[str, str] = {
    "count": "Observation?_summary=count",
    "total": "Observation?_count=1&_total=accurate",
    "page link": "Observation?_count=2",
    "code": f"Observation?code={SECRET}",
    "not": "Observation?code:not=718-7",
    "missing": "Observation?encounter:missing=false&_count=500",
    "sort": "Observation?_sort=-date,code",
    "page of a sort": "Observation?_sort=-code&_count=1",
    "chain": "Observation?encounter.status=finished",
    "has": f"Encounter?_has:Observation:encounter:code={SECRET}",
    "has not": "Encounter?_has:Observation:encounter:code:not=718-7",
    "nested has": f"Patient?_has:Encounter:patient:_has:Observation:encounter:code={SECRET}",
    "include": "Observation?_include=Observation:has-member",
    "include again": "Observation?code=718-7&_include:iterate=Observation:*",
    "revinclude": "Encounter?_revinclude=Observation:encounter",
    "revinclude of all": "Encounter?_revinclude=*&_summary=true",
    "types": "?_type=Encounter,Observation&_sort=_lastUpdated",
    "content": "Observation?_content=depressiv",
    "elements": "Observation?_elements=code",
}
"""By what it asks for: a type and its query."""


def observation(world: World, name: str, code: str, date: str, **more: Any) -> Put:
    about = {"status": "final", "code": {"coding": [{"system": LOINC, "code": code}]}, "effectiveDateTime": date}
    about |= {"subject": world.reference("Patient/p"), "encounter": world.reference("Encounter/e")}
    return world.put(f"Observation/{name}", about | more)


def visible(world: World) -> None:
    patient = {"reference": f"Patient/{world.vault}.{world.owner.patient}"}
    stay = {"status": "finished", "class": {"code": "AMB"}, "subject": patient}
    member = {"hasMember": [world.reference("Observation/hidden")]}
    world.append("encounters", world.put("Encounter/e", stay))
    world.append("encounters", world.put("Encounter/f", stay))
    world.append("results", *(observation(world, f"o{n}", "718-7", f"2026-0{n}-01", **member) for n in range(1, 4)))
    deny = {"type": "deny", "code": [{"coding": [{"system": LOINC, "code": SECRET}]}]}
    sections = [{"system": SECTION_SYSTEM, "code": section} for section in ("results", "encounters")]
    world.permit(**{"class": sections}, provision=[deny])


def hidden(world: World) -> None:
    found = observation(world, "hidden", SECRET, "2026-05-05", note=[{"text": "depressiv"}])
    world.append("results", found, observation(world, "other", SECRET, "2020-05-05"))


def answers(world: World) -> dict[str, bytes]:
    view = world.open(world.grantee())
    asked = {name: query.split("?") for name, query in QUERIES.items()}
    return {name: search(view, kind, pairs(query), LINKS, strict=True).body for name, (kind, query) in asked.items()}


def told_apart(world: World) -> list[str]:
    visible(world)
    before = answers(world)
    hidden(world)
    after = answers(world)
    return [name for name in QUERIES if before[name] != after[name]]


@pytest.mark.attack(12, 13, 15)
@weakens("aggregator.consent.decide.Decider", "decide", lambda _self, _facts: decide.Permit(()))
def test_no_search_tells_what_is_hidden(world: World) -> None:
    assert told_apart(world) == []


def test_each_of_them_would_tell_it_if_it_were_in_the_view(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide.Decider, "decide", lambda _self, _facts: decide.Permit(()))
    assert told_apart(world) == list(QUERIES)
