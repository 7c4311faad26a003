"""What a change of a sharing replaces: the one simple Consent there is for that party, and never one that says more."""

from __future__ import annotations

import asyncio
from typing import Any

from aggregator.api.access import Access
from aggregator.api.caller import Callers
from aggregator.api.desk import ANY_PROVIDER, Desk
from aggregator.consent.sharing import sharing_of
from tests.api.http_world import HttpWorld, classes


def propose(world: HttpWorld, party: str, sections: set[str], days: int = 30) -> tuple[Any, str | None]:
    principal = Callers(world.service, lambda _: None).remembered(world.owners["erika"])
    desk = Desk(world.service, Access(world.service))
    return asyncio.run(desk.proposal(principal, party, frozenset(sections), days))


def test_a_change_replaces_the_simple_consent(shared: HttpWorld) -> None:
    made, local = propose(shared, "labor", {"problems"}, 90)
    assert local is not None
    before = shared.get(f"/fhir/Consent/{shared.patients['erika'].partition('.')[0]}.{local}", shared.owner()).json()
    assert made["id"] == before["id"]
    said = sharing_of(made)
    assert said is not None
    assert (said.sections, said.until[:10], said.who.named) == (
        {"problems"},
        "2027-02-19",
        {("https://example.org/parties", "labor")},
    )


def test_for_who_has_none_it_is_a_new_one(shared: HttpWorld) -> None:
    made, local = propose(shared, "fremd", {"results"})
    assert (local, "id" in made) == (None, False)


def test_one_that_says_more_stays(fresh: HttpWorld) -> None:
    fresh.consent("fremd", **{"class": classes("results"), "dataPeriod": {"start": "2026"}})
    assert propose(fresh, "fremd", {"results"})[1] is None


def test_of_two_none_is_replaced(fresh: HttpWorld) -> None:
    fresh.consent("labor", **{"class": classes("problems")})
    assert propose(fresh, "labor", {"results"})[1] is None


def test_an_emergency_is_a_consent_of_its_own(shared: HttpWorld) -> None:
    made, local = propose(shared, ANY_PROVIDER, {"results"})
    assert local is None
    assert [one["code"] for one in made["provision"]["purpose"]] == ["BTG"]
