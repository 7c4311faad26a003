"""Where a view is asked: a short question on the spot, a long one in a thread, none for ever.

No question says beforehand how long it will take. So every one is begun on the spot, within a few milliseconds' work;
what needs more is begun again in a thread, within the most that one request may cost, and ends as soon as its caller
has gone. The event loop waits for neither.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar

from starlette.types import ASGIApp, Receive, Scope, Send

from aggregator.api.held import Held
from aggregator.errors import Stale
from aggregator.fhir.bundle import Answer
from aggregator.fhir.outcome import TooMuch
from aggregator.vault.meter import TooMuchWork
from aggregator.vault.view import View

SHORT = 20
LONG = 10_000
"""Steps (vault.meter) of a question on the spot, and of one in a thread: milliseconds and seconds."""

_caller: ContextVar[Receive] = ContextVar("caller")


class Leaving:
    """Remembers with each request how to hear that its caller has gone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        listen(receive)
        await self._app(scope, receive, send)


def listen(receive: Receive) -> None:
    """Through this the request that is answered now hears that its caller has gone."""
    _caller.set(receive)


async def ask(held: Held, question: Callable[[View], Answer]) -> Answer:
    """The view's answer; a question may be asked twice. Raises TooMuch, Stale where the view ended meanwhile."""
    free = not held.turn.locked()
    answer = _at_once(held, question) if free else None
    if answer is not None:
        return answer
    async with held.turn:
        return (None if free else _at_once(held, question)) or await _in_thread(held, question)


def _at_once(held: Held, question: Callable[[View], Answer]) -> Answer | None:
    """None where that takes longer. Nobody else is asking: a question on the spot is over before there is another."""
    if held.ended:
        raise Stale("the view has ended")
    try:
        with held.view.image.meter.allow(SHORT):
            return question(held.view)
    except TooMuchWork:
        return None


async def _in_thread(held: Held, question: Callable[[View], Answer]) -> Answer:
    view, meter = held.view, held.view.image.meter
    with meter.allow(LONG):
        asked = asyncio.ensure_future(asyncio.to_thread(question, view))
        gone = asyncio.ensure_future(_gone())
        try:
            await asyncio.wait({asked, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:  # cancelled too: nothing is asked of a view that has let go
            meter.stop()
            gone.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            if held.ended:
                view.close()
    try:
        return asked.result()
    except TooMuchWork:
        raise Stale("the view has ended") if held.ended else TooMuch from None


async def _gone() -> None:
    """Ends when the caller has: its request was read whole before."""
    receive = _caller.get(None)
    if receive is None:
        await asyncio.Event().wait()
    while receive is not None and (await receive())["type"] != "http.disconnect":
        pass
