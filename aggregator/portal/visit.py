"""One request of a browser: who it is, in which language, what its form says, and how it is answered."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from aggregator.api.caller import Principal
from aggregator.errors import SignInFailed
from aggregator.identity.accounts import Owner
from aggregator.portal.cookies import Cookies, new_visit, proof
from aggregator.portal.words import LANGUAGES, Language

Render = Callable[..., str]
_HERE = re.compile(r"/app(?:[/?][\x21-\x5b\x5d-\x7e]*)?")
"""A page's own address: no host, and no backslash, which browsers read as a slash."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'"
)
"""https://www.w3.org/TR/CSP3/: scripts and styles are ours alone, none stands in a page, nobody frames one."""


@dataclass(kw_only=True)
class Visit:
    """What a page's handler works with.

    known: the owner who is signed in, as the API knows callers. secret: what the browser's forms are bound to. form:
    its fields, in order.
    """

    request: Request
    language: Language
    known: Principal | None
    secret: str = field(repr=False)
    cookies: Cookies
    render: Render = field(repr=False)
    form: Sequence[tuple[str, str]] = field(default=(), repr=False)
    _session: Callable[[Response], None] | None = field(default=None, init=False, repr=False)
    _language: Callable[[Response], None] | None = field(default=None, init=False, repr=False)

    @property
    def principal(self) -> Principal:
        """Who is signed in, for what is receipted. Raises SignInFailed."""
        if self.known is None:
            raise SignInFailed("sign in first")
        return self.known

    @property
    def owner(self) -> Owner:
        """The same as the record's owner. Raises SignInFailed."""
        return self.principal.as_owner()

    @property
    def at(self) -> int:
        """Where this language stands in a pair of German and English."""
        return LANGUAGES.index(self.language)

    @property
    def back(self) -> str:
        """The address that shows this page again; home's, where a form made it."""
        url = self.request.url
        return url.path + (f"?{url.query}" if url.query else "") if self.request.method == "GET" else "/app"

    def field(self, name: str) -> str:
        """A field of the form, without blanks around; empty where there is none."""
        return next((value for key, value in self.form if key == name), "").strip()

    def secret_field(self, name: str) -> str:
        """The same as it was typed: blanks are part of a password."""
        return next((value for key, value in self.form if key == name), "")

    def ticked(self, name: str) -> list[str]:
        """Every value of a field that may be there several times: the boxes that are ticked."""
        return [value for key, value in self.form if key == name]

    def asked(self, name: str) -> str:
        """A parameter of the address; empty where there is none."""
        return self.request.query_params.get(name, "")

    def page(self, name: str, status: int = 200, **values: Any) -> Response:
        """`templates/<name>.html` with these values."""
        return Response(self.render(self, name, values), status, {"Content-Security-Policy": POLICY}, "text/html")

    def away(self, url: str) -> Response:
        """On to an app's address, after a form: a page that leads there, since no form may."""
        return self.page("away", url=url)

    def go(self, path: str) -> Response:
        """On to another page of ours, by GET."""
        return RedirectResponse(path, 303)

    def go_on(self, wanted: str) -> Response:
        """On to where somebody wanted to go before signing in, where that is a page of ours; else home."""
        return self.go(wanted if _HERE.fullmatch(wanted) else "/app")

    def begin(self) -> None:
        """Nobody is signed in: the browser is known again by a cookie of its own."""
        self.known, self.secret = None, new_visit()
        self._session = partial(self.cookies.begin_visit, made=self.secret)

    def enter(self, principal: Principal) -> None:
        """From this answer on the browser is this owner's."""
        self.known, self.secret = principal, principal.as_owner().token
        self._session = partial(self.cookies.enter, token=self.secret)

    def speak(self, language: str) -> None:
        """The language of the pages from here on."""
        self._language = partial(self.cookies.speak, language=language)

    def answered(self, response: Response) -> Response:
        """The response, with the cookies that go with it."""
        for told in (self._session, self._language):
            if told is not None:
                told(response)
        return response

    def values(self) -> Mapping[str, Any]:
        """What every template may use."""
        return {
            "language": self.language,
            "owner": self.known.owner if self.known else None,
            "proof": proof(self.secret),
            "here": self.request.url.path,
            "back": self.back,
        }
