"""A SMART Health Link as text: what is handed on, printed or shown as a QR code.

https://hl7.org/fhir/uv/smart-health-cards-and-links/links-specification.html#construct-a-smart-health-link-payload
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

import orjson

from aggregator.errors import CallerError
from aggregator.vault.seal import KEY_BYTES
from fhir_profiles.text import NotJson, loads

SCHEME = "shlink:/"
LONGEST_LABEL = 80
LIVE, PASSCODE, DIRECT = "L", "P", "U"
"""Flags: the content may change; a passcode is needed; the URL is the file's own. Those unknown here are ignored."""

_LONGEST = 4096  # characters of a link that is read
_NO_LINK = "this is no SMART Health Link"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The payload. url: of the manifest, or of the file where it is direct; expires: Unix seconds."""

    url: str
    key: bytes = field(repr=False)
    expires: int | None = None
    flag: str = ""
    label: str = ""

    def text(self) -> str:
        """`shlink:/` and the payload: with the key, so it is for the reader alone."""
        told: dict[str, Any] = {"url": self.url, "key": encoded(self.key)}
        told |= {"exp": self.expires} if self.expires else {}
        told |= {"flag": self.flag} if self.flag else {}
        told |= {"label": self.label} if self.label else {}
        return SCHEME + encoded(orjson.dumps(told))


def parse(text: str) -> Link:
    """A link of anybody's, with or without the address of a viewer before it. Raises CallerError."""
    _, found, payload = text.strip().rpartition(SCHEME)
    try:
        if not found or len(payload) > _LONGEST:
            raise CallerError(_NO_LINK)
        told = loads(decoded(payload))
        link = Link(
            url=told["url"],
            key=decoded(told["key"]),
            expires=told.get("exp"),
            flag=told.get("flag", ""),
            label=told.get("label", ""),
        )
    except (KeyError, TypeError, AttributeError, ValueError, NotJson):
        raise CallerError(_NO_LINK) from None
    if told.get("v", 1) != 1:
        raise CallerError("this SMART Health Link is of a version that is not known here")
    if not _is_sound(link):
        raise CallerError(_NO_LINK)
    return link


def encoded(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decoded(text: str) -> bytes:
    """The inverse. Raises ValueError for anything else."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise ValueError("not base64url") from None


def _is_sound(link: Link) -> bool:
    texts = all(isinstance(one, str) for one in (link.url, link.flag, link.label))
    return texts and len(link.key) == KEY_BYTES and (link.expires is None or isinstance(link.expires, int))
