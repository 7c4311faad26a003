"""OAuth's own errors: a code for the program, a sentence for whoever builds it, nothing of what exists.

https://www.rfc-editor.org/rfc/rfc6749#section-4.1.2.1 and #section-5.2
"""

from __future__ import annotations

from aggregator.errors import CallerError


class OAuthError(CallerError):
    """code: OAuth's. The message is the description."""

    def __init__(self, code: str, description: str = "") -> None:
        super().__init__(description)
        self.code = code

    def told(self) -> dict[str, str]:
        """As parameters, of an answer or of a redirect."""
        described = {"error_description": str(self)} if str(self) else {}
        return {"error": self.code} | described


class NoRedirect(CallerError):
    """Nobody can tell where an answer may be sent: an unknown app, or an address that it is not registered with."""

    def __init__(self) -> None:
        super().__init__("this app is not known here, or it named an address that it is not registered with")


class RedirectError(CallerError):
    """The app is told at its own address what is wrong. url: the whole of it."""

    def __init__(self, url: str) -> None:
        super().__init__("the app asked for what it cannot have")
        self.url = url
