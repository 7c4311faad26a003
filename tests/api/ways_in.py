"""The ways in as an app asks for them, and what is told of them."""

from __future__ import annotations

from typing import Any

import httpx

from tests.api.http_world import PASSWORD, HttpWorld
from tests.identity.authenticator import Authenticator

NEW = "Ein neues langes Wort"


def told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["issue"][0]["diagnostics"]


def bearer(answer: httpx.Response) -> dict[str, str]:
    assert answer.is_success, answer.text
    return {"Authorization": f"Bearer {answer.json()['token']}"}


def sign_in(world: HttpWorld, password: str = PASSWORD, **more: str) -> httpx.Response:
    return world.http.post("/auth/sign-in", json={"login": "erika", "password": password} | more)


def options(world: HttpWorld, who: dict[str, str] | None = None) -> Any:
    made = world.http.post("/app/unlockers/passkeys/options", json={"label": "Handy"}, headers=who or world.owner())
    assert made.status_code == 200, made.text
    return made.json()


def register(world: HttpWorld, device: Authenticator, who: dict[str, str] | None = None) -> httpx.Response:
    asked = options(world, who)
    answers = {"registration": device.create(asked["create"]), "assertion": device.get(asked["get"])}
    return world.http.post("/app/unlockers/passkeys", json=answers | {"label": "Handy"}, headers=who or world.owner())


def challenge(world: HttpWorld) -> Any:
    return world.http.post("/auth/passkey/options").json()


def by_passkey(world: HttpWorld, credential: object) -> httpx.Response:
    return world.http.post("/auth/passkey", json={"credential": credential, "device": "Handy"})


def unlockers(world: HttpWorld, who: dict[str, str] | None = None) -> dict[str, Any]:
    rows = world.get("/app/unlockers", who or world.owner()).json()["unlockers"]
    return {row["kind"]: row for row in rows}
