"""The clock jumps a day either way, and across a change of summer time: what is good for minutes is so by any clock.

Berlin sets its clocks back on 2026-10-25 at 3:00 (2:00 to 3:00 comes twice), and forward on 2027-03-28 at 2:00.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from aggregator.audit import verify
from tests.api.http_world import PASSWORD, HttpWorld, classes, consent
from tests.vault.world import BERLIN
from tests.weaken import weakens

DAY = 24.0
CHANGES = [datetime(2026, 10, 25, 2, 58, tzinfo=BERLIN), datetime(2027, 3, 28, 1, 58, tzinfo=BERLIN)]
"""Two minutes before the hour that comes twice begins again, and before the hour that is left out."""


def _after(moment: datetime, minutes: float) -> datetime:
    """So many minutes later, as a clock in Berlin shows it."""
    return datetime.fromtimestamp(moment.timestamp() + minutes * 60, BERLIN)


def _search(world: HttpWorld, who: dict[str, str]) -> int:
    return world.get(f"/fhir/Observation?patient={world.patients['erika']}", who).status_code


def _signs(world: HttpWorld) -> int:
    told = consent(world.patients["erika"], "fremd", **{"class": classes("results")})
    return world.http.post("/fhir/Consent", json=told, headers=world.owner()).status_code


def _sign_in(world: HttpWorld) -> None:
    answer = world.http.post("/auth/sign-in", json={"login": "erika", "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    world.owners["erika"] = answer.json()["token"]


@pytest.mark.attack(50)
@pytest.mark.parametrize("remembered", [True, False])
@weakens("aggregator.identity.clients", "_SKEW", 10**9)
@weakens("aggregator.identity.sessions", "_SKEW", 10**9)
def test_set_back_by_a_day_five_minutes_do_not_become_a_day(fresh: HttpWorld, remembered: bool) -> None:
    """Nor do the views that they opened, nor what is remembered of a token."""
    _jump(fresh, -DAY, remembered)


@pytest.mark.attack(50)
@weakens("aggregator.api.held.HeldViews", "_over", lambda *_: False)
def test_a_view_of_a_day_that_has_not_come_is_opened_anew(fresh: HttpWorld) -> None:
    assert _search(fresh, fresh.token("praxis")) == 200
    fresh.clock.advance(hours=-DAY)
    assert _search(fresh, fresh.token("praxis")) == 200
    opened = fresh.clock().isoformat(timespec="milliseconds")
    _sign_in(fresh)
    events = [entry["resource"] for entry in fresh.get("/fhir/AuditEvent?_count=100", fresh.owner()).json()["entry"]]
    assert [one for one in events if one["recorded"] == opened and "geöffnet" in one["outcomeDesc"]]


@pytest.mark.attack(50)
@pytest.mark.parametrize("remembered", [True, False])
def test_set_forward_by_a_day_they_end(fresh: HttpWorld, remembered: bool) -> None:
    _jump(fresh, DAY, remembered)


def _jump(fresh: HttpWorld, jump: float, remembered: bool) -> None:
    caller = fresh.token("praxis")
    if remembered:
        assert (_search(fresh, caller), _search(fresh, fresh.owner())) == (200, 200)
    fresh.clock.advance(hours=jump)
    assert (_search(fresh, caller), _search(fresh, fresh.owner())) == (401, 401)
    _sign_in(fresh)
    assert (_search(fresh, fresh.token("praxis")), _search(fresh, fresh.owner())) == (200, 200)
    assert _signs(fresh) == 201


@pytest.mark.attack(50)
@pytest.mark.parametrize("jump", [-DAY, DAY])
def test_receipts_stand_in_their_order_whatever_their_times(fresh: HttpWorld, jump: float) -> None:
    assert _search(fresh, fresh.token("praxis")) == 200
    fresh.clock.advance(hours=jump)
    assert _search(fresh, fresh.token("praxis")) == 200
    vault = fresh.patients["erika"].partition(".")[0]
    with fresh.service.store.read() as session:
        assert verify.check(session, vault, fresh.service.key_service.audit_verification_key()).finding is None
    _sign_in(fresh)
    events = [entry["resource"] for entry in fresh.get("/fhir/AuditEvent?_count=100", fresh.owner()).json()["entry"]]
    told = [datetime.fromisoformat(one["recorded"]) for one in events]
    assert fresh.clock() in told
    assert fresh.clock() - timedelta(hours=jump) in told


@pytest.mark.attack(50)
@pytest.mark.parametrize("change", CHANGES, ids=["winter", "summer"])
def test_minutes_are_minutes_across_a_change_of_summer_time(fresh: HttpWorld, change: datetime) -> None:
    """A token lives five minutes, a session thirty, and an unlock lets sign for five."""
    fresh.clock.now = change
    caller = fresh.token("praxis")
    _sign_in(fresh)
    fresh.clock.now = _after(change, 4)
    assert (_search(fresh, caller), _search(fresh, fresh.owner()), _signs(fresh)) == (200, 200, 201)
    fresh.clock.now = _after(change, 6)
    assert (_search(fresh, caller), _search(fresh, fresh.owner()), _signs(fresh)) == (401, 200, 403)
    fresh.clock.now = _after(change, 31)
    assert _search(fresh, fresh.owner()) == 401


@pytest.mark.attack(50)
def test_an_hour_that_comes_twice_makes_no_unlock_fresh_again(fresh: HttpWorld) -> None:
    """62 minutes later the clock on the wall shows two minutes more."""
    fresh.clock.now = datetime(2026, 10, 25, 2, 10, tzinfo=BERLIN)
    caller = fresh.token("praxis")
    _sign_in(fresh)
    assert (_search(fresh, caller), _search(fresh, fresh.owner())) == (200, 200)
    fresh.clock.now = datetime(2026, 10, 25, 2, 12, fold=1, tzinfo=BERLIN)
    assert (_search(fresh, caller), _search(fresh, fresh.owner())) == (401, 401)
    fresh.clock.now = datetime(2026, 10, 25, 2, 10, tzinfo=BERLIN)
    _sign_in(fresh)
    fresh.clock.now = datetime(2026, 10, 25, 2, 12, fold=1, tzinfo=BERLIN)
    assert _signs(fresh) == 401


@pytest.mark.attack(50)
def test_a_consent_ends_in_the_hour_that_comes_twice_when_it_says(fresh: HttpWorld) -> None:
    """It ends at 2:30 of the first of them; a view that was opened before ends with it."""
    fresh.clock.now = datetime(2026, 10, 25, 2, 20, tzinfo=BERLIN)
    _sign_in(fresh)
    fresh.consent("fremd", period={"start": "2026-01-01", "end": "2026-10-25T02:30:00+02:00"})
    caller = fresh.token("fremd")
    assert _search(fresh, caller) == 200
    for minutes, fold, status in ((29, 0, 200), (31, 0, 404), (1, 1, 404), (25, 1, 404)):
        fresh.clock.now = datetime(2026, 10, 25, 2, minutes, fold=fold, tzinfo=BERLIN)
        assert _search(fresh, fresh.token("fremd")) == status, (minutes, fold)
