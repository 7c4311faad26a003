"""What every page stands in: rendering, who is signed in, what a form must prove, and how an error is told.

A page's handler takes a `Visit` and gives a response. `anyone` and `owner` make a route of it; each page is one module
and one template, and what it says is one table (`words.py`). A page works without JavaScript but for passkeys.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from starlette.requests import Request
from starlette.responses import Response

from aggregator.api import bodies, errors
from aggregator.api.caller import Callers, Principal
from aggregator.api.service import Service
from aggregator.errors import AggregatorError, Refused, SignInFailed
from aggregator.identity.turns import Turns
from aggregator.portal.cookies import Cookies, proves
from aggregator.portal.static_files import StaticFiles
from aggregator.portal.unlocking import ASSERTION, PASSWORD, Unlocking
from aggregator.portal.visit import Visit
from aggregator.portal.words import LANGUAGES, Words, chosen
from aggregator.vault import disk
from fhir_profiles.dates import ZONE

logger = logging.getLogger(__name__)

Handler = Callable[[Visit], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]

FORM_LIMIT = 64 * 1024
PROBLEMS: Mapping[int, str] = {
    400: "not_understood",
    401: "not_allowed",
    403: "not_allowed",
    404: "not_there",
    503: "again",
    507: "again",
}
"""HTTP status of an error -> what a page says of it; all else is ours to mend."""
_NOT_KEPT = ("proof", PASSWORD, ASSERTION)
_MONTHS = {
    "de": "Januar,Februar,März,April,Mai,Juni,Juli,August,September,Oktober,November,Dezember",
    "en": "January,February,March,April,May,June,July,August,September,October,November,December",
}
_DAY = {"de": "{day}. {month} {year}", "en": "{day} {month} {year}"}
_MOMENT = {"de": "{date}, {time} Uhr", "en": "{date}, {time}"}


class TooOld(Refused):
    """The form was not made for this browser, or too long ago."""


class Frame:
    """The frame of one installation's pages."""

    def __init__(self, service: Service, callers: Callers, turns: Turns) -> None:
        self.unlocking = Unlocking(service, callers, turns)
        self._callers = callers
        self._cookies = Cookies(service.base_url)
        self._words = Words()
        self.static = StaticFiles()
        self._environment = Environment(
            loader=PackageLoader("aggregator.portal"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals["static"] = self.static.address
        self._environment.filters |= {"day": _day, "moment": _moment}

    def anyone(self, handler: Handler) -> Endpoint:
        """A route for whoever comes."""

        async def answer(request: Request) -> Response:
            visit = self._visit(request)
            try:
                if request.method == "POST":
                    visit.form = await self._form(visit)
                response = await handler(visit)
            except Exception as error:  # noqa: BLE001 - whoever reads is told what to do, and nothing of what it was
                response = _told(visit, error)
            return visit.answered(response)

        return answer

    def owner(self, handler: Handler) -> Endpoint:
        """A route for who is signed in; whoever is not can sign in on the spot, and goes on here."""

        async def signed_in(visit: Visit) -> Response:
            return await handler(visit) if visit.known else _sign_in_first(visit)

        return self.anyone(signed_in)

    def signing(self, handler: Handler) -> Endpoint:
        """A route for the owner, unlocked in the last minutes: else that is asked for first, and the form is kept."""

        async def unlocked(visit: Visit) -> Response:
            if self.unlocking.is_fresh(visit):
                return await handler(visit)
            problem = await self.unlocking.again(visit)
            return _unlock_first(visit, problem) if problem else await handler(visit)

        return self.owner(unlocked)

    def _visit(self, request: Request) -> Visit:
        accepted = request.headers.get("accept-language", "")
        token, visit = self._cookies.session(request), self._cookies.visit(request)
        made = Visit(
            request=request,
            language=chosen(self._cookies.language(request), accepted),
            known=self._owner(token),
            secret=token or visit,
            cookies=self._cookies,
            render=self._render,
        )
        if not made.secret:
            made.begin()
        return made

    def _owner(self, token: str) -> Principal | None:
        """Whose session it is; no other token counts in a cookie, and no cookie counts outside of the pages."""
        try:
            known = self._callers.remembered(token) if token else None
        except SignInFailed:
            return None
        return known if known and known.owner else None

    async def _form(self, visit: Visit) -> list[tuple[str, str]]:
        """What was sent, if a page of ours made it for this browser. Raises TooOld."""
        pairs = await bodies.form(visit.request, FORM_LIMIT)
        if self._cookies.is_foreign(visit.request) or not proves(visit.secret, dict(pairs).get("proof", "")):
            raise TooOld("the form was not made for this browser")
        return pairs

    def _render(self, visit: Visit, name: str, values: Mapping[str, Any]) -> str:
        say = self._words.of(name, visit.language)
        template = self._environment.get_template(f"{name}.html")
        return template.render({**visit.values(), "say": say, "languages": LANGUAGES, **values})


def _sign_in_first(visit: Visit) -> Response:
    """On the spot. A form is not kept: somebody else may sign in, and would send it as theirs."""
    return visit.page("sign-in", 403, wanted=visit.back, problem="", login="")


def _unlock_first(visit: Visit, problem: str) -> Response:
    """What was sent stands in the page that asks, and comes again with the answer."""
    kept = [(name, value) for name, value in visit.form if name not in _NOT_KEPT]
    return visit.page("unlock", 403, kept=kept, problem=problem)


def _told(visit: Visit, error: Exception) -> Response:
    """A page for what went wrong: what to do next, and no detail, which may be of somebody else."""
    known = error if isinstance(error, AggregatorError) else disk.failure(error)
    status = errors.status(known or error)
    if known is None:  # its message could hold health data
        logger.error("unexpected %s", type(error).__name__)
    elif status >= 500:
        logger.error("%s: %s", type(known).__name__, known)
    problem = "too_old" if isinstance(error, TooOld) else PROBLEMS.get(status, "ours")
    return visit.page("problem", status, problem=problem)


@pass_context
def _day(context: Context, moment: datetime) -> str:
    """A date, written out."""
    language, here = context["language"], moment.astimezone(ZONE)
    return _DAY[language].format(day=here.day, month=_MONTHS[language].split(",")[here.month - 1], year=here.year)


@pass_context
def _moment(context: Context, moment: datetime) -> str:
    """Date and time of day, in the zone of those whom this service is made for."""
    return _MOMENT[context["language"]].format(date=_day(context, moment), time=f"{moment.astimezone(ZONE):%H:%M}")
