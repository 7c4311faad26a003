"""Cookies: the owner session's, which pages alone take, and what a form must prove (CSRF).

https://www.rfc-editor.org/rfc/rfc6265 and https://www.ietf.org/archive/id/draft-ietf-httpbis-rfc6265bis-20.html: a
`__Host-` cookie is this host's, over TLS. Over plain HTTP, which is for this machine alone, not every browser keeps one
(Chromium does, at 127.0.0.1 and localhost; Safari does not): there the cookies have plain names.

SameSite=Lax, not Strict: an app sends its patient here from its own site, and finds them signed in.
"""

from __future__ import annotations

import secrets
from hmac import compare_digest
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from aggregator.api.headers import header
from aggregator.config import LOOPBACK
from aggregator.vault.seal import expand

_SESSION, _VISIT, _LANGUAGE = "session", "visit", "language"
_YEAR = 31_536_000  # seconds


class Cookies:
    """The cookies of one installation. base_url: its origin."""

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._secure = parts.scheme == "https" or parts.hostname not in LOOPBACK
        self._prefix = "__Host-" if self._secure else ""

    def session(self, request: Request) -> str:
        """The owner session's token; empty where there is none."""
        return self._of(request, _SESSION)

    def language(self, request: Request) -> str:
        """The language that was set; empty where none was."""
        return self._of(request, _LANGUAGE)

    def visit(self, request: Request) -> str:
        """What a browser is known by while nobody is signed in; empty at its first page."""
        return self._of(request, _VISIT)

    def begin_visit(self, response: Response, made: str) -> None:
        """Set a new one; there is no session, or no longer."""
        self._set(response, _VISIT, made)
        self._end(response, _SESSION)

    def enter(self, response: Response, token: str) -> None:
        """Set the session's token: a new one at every sign-in. It ends with the browser, if not before."""
        self._set(response, _SESSION, token)
        self._end(response, _VISIT)

    def speak(self, response: Response, language: str) -> None:
        """Remember the language for a year."""
        self._set(response, _LANGUAGE, language, _YEAR)

    def is_foreign(self, request: Request) -> bool:
        """Does a page of somebody else's send this? Under no-referrer an old browser tells a form's Origin as "null".

        https://www.w3.org/TR/fetch-metadata/
        """
        site, origin = header(request, b"sec-fetch-site"), header(request, b"origin")
        if site is not None:
            return site not in ("same-origin", "none")  # none: the person's own doing, as a page that is loaded again
        return origin not in (None, "null", self._origin)

    def _of(self, request: Request, name: str) -> str:
        return request.cookies.get(self._prefix + name, "")

    def _set(self, response: Response, name: str, value: str, seconds: int | None = None) -> None:
        response.set_cookie(
            self._prefix + name, value, seconds, path="/", secure=self._secure, httponly=True, samesite="lax"
        )

    def _end(self, response: Response, name: str) -> None:
        response.delete_cookie(self._prefix + name, path="/", secure=self._secure, httponly=True, samesite="lax")


def new_visit() -> str:
    """What a browser is to be known by."""
    return secrets.token_urlsafe(16)


def proof(secret: str) -> str:
    """What a form carries, so that only a page which this browser was given can send it."""
    return expand(secret.encode(), "form", 16).hex()


def proves(secret: str, stated: str) -> bool:
    """Is it that?"""
    return bool(secret) and compare_digest(proof(secret).encode(), stated.encode())
