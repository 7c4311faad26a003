"""SMART Health Links of others, opened for an owner: the manifest or the file is fetched, and decrypted here.

https://hl7.org/fhir/uv/smart-health-cards-and-links/links-specification.html. Where a link leads is somebody else's
word: it is asked through the guard for such addresses (`connectors/fetch.py`), within bounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

import orjson

from aggregator.errors import CallerError
from aggregator.sharing import encrypted_file
from aggregator.sharing.link import DIRECT, Link
from connectors.contract import ConnectorError
from fhir_profiles.text import NotJson, Resource, loads

_MOST = 10_000_000  # bytes of one answer
_MOST_FILES = 10
_MOST_ENTRIES = 5_000
_DAMAGED = "what the link leads to is not of the form"


class Web(Protocol):
    """What asks addresses that somebody else has named. Raises ConnectorError."""

    def get(self, address: str, *, most: int) -> bytes: ...

    def post(self, address: str, body: bytes, *, most: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Received:
    """One file as it was shared: its media type, and its bytes."""

    media_type: str
    content: bytes


def receive(web: Web, link: Link, recipient: str, passcode: str) -> list[Received]:
    """All that a link leads to. recipient: who says to be asking. Raises CallerError."""
    try:
        found = [encrypted_file.decrypt(link.key, jwe) for jwe in _files(web, link, recipient, passcode)]
    except ConnectorError:
        raise CallerError("the link does not open: it has ended, the passcode is wrong, or nobody answers") from None
    return [Received(media_type.partition(";")[0].strip(), content) for media_type, content in found]


def _files(web: Web, link: Link, recipient: str, passcode: str) -> Iterator[str]:
    if DIRECT in link.flag:
        mark = "&" if urlsplit(link.url).query else "?"
        yield _text(web.get(f"{link.url}{mark}{urlencode({'recipient': recipient})}", most=_MOST))
        return
    asked = {"recipient": recipient, "embeddedLengthMax": _MOST} | ({"passcode": passcode} if passcode else {})
    for file in _manifest(web.post(link.url, orjson.dumps(asked), most=_MOST)):
        yield file["embedded"] if "embedded" in file else _text(web.get(file["location"], most=_MOST))


def _manifest(body: bytes) -> list[Mapping[str, str]]:
    try:
        files = loads(body)["files"]
        sound = all(isinstance(one.get("embedded", one.get("location")), str) for one in files)
    except (NotJson, KeyError, TypeError, AttributeError):
        raise CallerError(_DAMAGED) from None
    if not sound or not isinstance(files, list) or not 0 < len(files) <= _MOST_FILES:
        raise CallerError(_DAMAGED)
    return files


def _text(body: bytes) -> str:
    try:
        return body.decode("ascii").strip()
    except UnicodeDecodeError:
        raise CallerError(_DAMAGED) from None


def entries(content: bytes) -> dict[str, Resource]:
    """fullUrl -> resource, of a Bundle's entries, or of the one resource that it is. Raises CallerError."""
    try:
        told: dict[str, Any] = loads(content)
        listed = told["entry"] if told["resourceType"] == "Bundle" else [{"resource": told}]
        found = {str(one.get("fullUrl", f"entry:{place}")): one["resource"] for place, one in enumerate(listed)}
        sound = all(isinstance(one["resourceType"], str) for one in found.values())
    except (NotJson, KeyError, TypeError, AttributeError):
        raise CallerError(_DAMAGED) from None
    if not sound or len(found) != len(listed) or len(found) > _MOST_ENTRIES:
        raise CallerError(_DAMAGED)
    return found
