"""Who has a link and no account: reads it, asks for its manifest, decrypts. Shares no code with the service."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.api.http_world import HttpWorld

PRACTICE = "Praxis am Markt"
RIGHT, WRONG = "Kirschkuchen", "Pflaumenmus"
NOWHERE = b"there is no such link, or not any more: ask whoever gave it to you"


@dataclass(frozen=True)
class Received:
    """A link as it was handed on."""

    payload: dict[str, Any]
    http: httpx.Client

    def path(self) -> str:
        return "/" + str(self.payload["url"]).split("/", 3)[3]

    def ask(self, **more: Any) -> httpx.Response:
        """The manifest request."""
        return self.http.post(self.path(), json={"recipient": PRACTICE} | more)

    def decrypt(self, jwe: str) -> dict[str, Any]:
        """A shared file, by RFC 7516."""
        top, wrapped, nonce, box, tag = jwe.split(".")
        header = json.loads(unbase64(top))
        assert (header["alg"], header["enc"], wrapped) == ("dir", "A256GCM", "")
        plain = AESGCM(unbase64(self.payload["key"])).decrypt(
            unbase64(nonce), unbase64(box) + unbase64(tag), top.encode()
        )
        made: dict[str, Any] = json.loads(zlib.decompress(plain, -15) if header.get("zip") == "DEF" else plain)
        return made

    def open(self, **more: Any) -> dict[str, Any]:
        """What the link leads to."""
        answer = self.ask(**more)
        assert answer.status_code == 200, answer.text
        (file,) = answer.json()["files"]
        return self.decrypt(file["embedded"])


def share(world: HttpWorld, login: str = "erika", **wish: Any) -> dict[str, Any]:
    """The owner makes a link; what the service answers."""
    answer = world.http.post("/app/links", json={"label": "Für den Urlaub"} | wish, headers=world.owner(login))
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def receive(world: HttpWorld, made: Mapping[str, Any], http: httpx.Client | None = None) -> Received:
    return Received(json.loads(unbase64(made["link"].removeprefix("shlink:/"))), http or world.http)


def shared_link(world: HttpWorld, **wish: Any) -> Received:
    """Both at once."""
    return receive(world, share(world, **wish))


def is_closed(answer: httpx.Response) -> bool:
    """The one answer of a link that leads nowhere."""
    return answer.status_code == 404 and NOWHERE in answer.content


def receipts(world: HttpWorld, login: str = "erika") -> list[str]:
    """The owner's, as German sentences, in the order of time."""
    events = world.get("/fhir/AuditEvent?_count=100", world.owner(login)).json()["entry"]
    return [one["resource"]["outcomeDesc"].partition(" / ")[0] for one in events]


def unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
