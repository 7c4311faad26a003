"""What a session is called where its device does not say: browser and system, from User-Agent; never its version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from aggregator.errors import CallerError

# The first that is found counts: most name the others as well.
_BROWSERS = {"Edg": "Edge", "OPR/": "Opera", "Firefox/": "Firefox", "Chrome/": "Chrome", "Safari/": "Safari"}
_SYSTEMS = {
    "Android": "Android",
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Windows": "Windows",
    "Mac OS X": "Mac",
    "Linux": "Linux",
}


def device(request: Request, told: Mapping[str, Any]) -> str:
    """The member `device` of the body, else a family of browsers and systems. Raises CallerError."""
    stated = told.get("device", "")
    if not isinstance(stated, str):
        raise CallerError("device: a string is needed")
    return stated or family(request.headers.get("user-agent", ""))


def family(user_agent: str) -> str:
    """ "Firefox, Android"; "" for what is not known."""
    found = (next((name for sign, name in table.items() if sign in user_agent), "") for table in (_BROWSERS, _SYSTEMS))
    return ", ".join(name for name in found if name)
