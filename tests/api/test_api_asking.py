"""A long question keeps nobody waiting, ends at its bound, with its caller, and before its view is closed."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from aggregator.api import asking
from aggregator.api.held import Held
from aggregator.errors import Stale
from aggregator.fhir.bundle import Answer
from aggregator.fhir.outcome import TooMuch
from aggregator.vault.view import View
from tests.fhir.world import handmade, view_of
from tests.weaken import weakens

pytestmark = pytest.mark.storeless

COUNTED = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT ?) SELECT count(*) FROM c"
SHORT, LONG, ENDLESS = 100, 1_000_000, 1_000_000_000


def held() -> Held:
    view = View("k3", "reader", view_of(handmade()).image, 1, 1)
    return Held(view, cast(Any, None), cast(Any, None), {}, 0.0)


def counting(number: int, threads: list[int] | None = None) -> Callable[[View], Answer]:
    def question(view: View) -> Answer:
        if threads is not None:
            threads.append(threading.get_ident())
        return Answer(b"%d" % view.image.select(COUNTED, [number])[0][0], 1)

    return question


def test_a_short_question_is_answered_on_the_spot() -> None:
    threads = list[int]()
    assert asyncio.run(asking.ask(held(), counting(SHORT, threads))).body == b"%d" % SHORT
    assert threads == [threading.get_ident()]


def test_a_long_one_is_answered_in_a_thread_while_others_are_served() -> None:
    threads, ticks, one = list[int](), list[int](), held()

    async def run() -> Answer:
        asked = asyncio.create_task(asking.ask(one, counting(LONG, threads)))
        while not asked.done():
            ticks.append(1)
            await asyncio.sleep(0.001)
        return await asked

    assert asyncio.run(run()).body == b"%d" % LONG
    assert threads[0] == threading.get_ident() != threads[1]
    assert len(ticks) > 5


def test_a_question_has_a_bound_and_the_view_none_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "LONG", 50)
    one = held()
    with pytest.raises(TooMuch, match="too much work"):
        asyncio.run(asking.ask(one, counting(ENDLESS)))
    assert one.view.image.select(COUNTED, [LONG]) == [(LONG,)]
    assert asyncio.run(asking.ask(one, counting(SHORT))).body == b"%d" % SHORT


def test_a_cancelled_request_stops() -> None:
    async def run() -> None:
        asked = asyncio.create_task(asking.ask(held(), counting(ENDLESS)))
        await asyncio.sleep(0.05)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(asked, 10)

    asyncio.run(run())


def test_a_question_ends_with_its_caller() -> None:
    async def run() -> None:
        async def receive() -> dict[str, str]:
            return {"type": "http.disconnect"}

        async def app(*_: Any) -> None:
            await asking.ask(held(), counting(ENDLESS))

        with pytest.raises(TooMuch):
            await asyncio.wait_for(asking.Leaving(app)({"type": "http"}, receive, cast(Any, None)), 10)

    asyncio.run(run())


@pytest.mark.attack(17)
@weakens("aggregator.vault.meter.Meter", "stop", lambda _: None)
def test_a_view_that_ends_answers_nothing_more_and_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "LONG", 20_000)  # seconds, on a fast machine too
    one = held()

    async def run() -> None:
        asked = asyncio.create_task(asking.ask(one, counting(ENDLESS)))
        waiting = asyncio.create_task(asking.ask(one, counting(SHORT)))
        await asyncio.sleep(0.05)
        one.end()
        done, _ = await asyncio.wait({asked, waiting}, timeout=1)
        assert {type(task.exception()) for task in done} == {Stale}
        assert len(done) == 2

    asyncio.run(run())
    with pytest.raises(sqlite3.ProgrammingError):
        one.view.image.select("SELECT 1")
