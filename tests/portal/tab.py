"""A browser as HTTP sees it: it keeps cookies, and sends the forms of the pages it was given."""

from __future__ import annotations

import html
import re
from typing import Any

import httpx

from tests.api.http_world import PASSWORD, HttpWorld

_HIDDEN = re.compile(r'<input type="hidden" name="([\w-]+)" value="([^"]*)"')


class Tab:
    """One browser, with one page open."""

    def __init__(self, world: HttpWorld) -> None:
        self._base_url = world.http.base_url
        self.cookies = httpx.Cookies()
        self.page = self.get("/app/sign-in")

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Any request, with the browser's cookies."""
        with httpx.Client(base_url=self._base_url, cookies=self.cookies, timeout=30, verify=False) as http:
            answer = http.request(method, path, **more)
            self.cookies = http.cookies
        return answer

    def get(self, path: str) -> httpx.Response:
        self.page = self.ask("GET", path)
        return self.page

    def send(self, path: str, headers: dict[str, str] | None = None, **fields: str) -> httpx.Response:
        """A form of the page that is open, with its hidden fields."""
        found = reversed(_HIDDEN.findall(self.page.text))  # the first of a name counts: the footer has a form as well
        hidden = {name: html.unescape(value) for name, value in found}
        headers = {"Sec-Fetch-Site": "same-origin"} | (headers or {})
        return self.ask("POST", path, data=hidden | fields, headers=headers)

    def sign_in(self, login: str = "erika", password: str = PASSWORD, wanted: str = "/app") -> httpx.Response:
        self.get("/app" if self.session else "/app/sign-in")
        return self.send("/app/sign-in", login=login, unlock_password=password, wanted=wanted)

    @property
    def session(self) -> str:
        """The session's token, as the cookie has it."""
        return self.cookies.get("session") or ""
