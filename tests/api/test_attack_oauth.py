"""What must fail of OAuth and SMART: https://www.rfc-editor.org/rfc/rfc9700, tried against the HTTP server."""

from __future__ import annotations

import base64
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from aggregator.api.caller import Callers
from aggregator.consent import reach
from aggregator.errors import Refused
from aggregator.identity import app_parties, app_tokens
from aggregator.identity.handed_out import Desk, Kind
from fhir_profiles.codes import APP_AUTHORIZATION
from tests.api.app_world import App, answered, bearer
from tests.api.http_world import ASSERTION, REDIRECT, HttpWorld
from tests.weaken import weakens

UNCHECKED = {name: replace(grant, check=lambda *_: None) for name, grant in app_tokens._GRANTS.items()}


def refused(app: App, **changed: str | None) -> dict[str, str]:
    """The error that the app is told at its own address."""
    answer = app.authorize(**changed)
    assert answer.status_code == 302, answer.text
    told = answered(answer.headers["location"])
    assert told.pop("iss") == app.world.service.base_url
    assert told.pop("state", None) == changed.get("state", app.state)
    told.pop("error_description", None)
    return told


def reads(world: HttpWorld, tokens: dict[str, Any], login: str = "erika") -> int:
    """The status of a search in a record."""
    path = f"/fhir/Observation?patient={world.patients[login]}"
    return world.get(path, bearer(tokens)).status_code


@pytest.mark.attack(37)
@weakens("aggregator.identity.redirect_uris", "matches", lambda _registered, asked: asked.startswith(REDIRECT[:19]))
@pytest.mark.parametrize(
    "uri",
    [
        f"{REDIRECT}/",
        f"{REDIRECT}?next=1",
        f"{REDIRECT}#a",
        f"{REDIRECT}/../other",
        "https://app.example/Callback",
        "https://app.example:443/callback",
        "https://app.example.evil.example/callback",
        "https://app.example@evil.example/callback",
    ],
)
def test_an_address_that_is_not_registered_is_never_gone_to(shared: HttpWorld, uri: str) -> None:
    answer = App(shared).authorize(redirect_uri=uri)
    assert (answer.status_code, "location" in answer.headers) == (400, False)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert uri not in answer.text


@pytest.mark.attack(37)
def test_an_address_that_is_left_out_or_told_twice_is_none(shared: HttpWorld) -> None:
    twice = [*App(shared).request.items(), ("redirect_uri", "https://evil.example/")]
    assert App(shared).authorize(redirect_uri=None).status_code == 400
    assert shared.http.get("/auth/authorize", params=twice).status_code == 400


@pytest.mark.attack(37)
@weakens("aggregator.identity.authorization_requests", "client_of", lambda _pairs, clients: clients["app"])
@pytest.mark.parametrize("client", ["never-was", "praxis", "", None])
def test_an_app_that_nobody_knows_is_answered_by_a_page(shared: HttpWorld, client: str | None) -> None:
    answer = App(shared).authorize(client_id=client)
    assert (answer.status_code, "location" in answer.headers) == (400, False)
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


@pytest.mark.attack(37)
@weakens("aggregator.identity.app_tokens", "_GRANTS", UNCHECKED)
def test_a_code_is_redeemed_for_the_address_it_went_to(fresh: HttpWorld) -> None:
    app = App(fresh)
    code = app.code()
    assert app.redeem(code, redirect_uri=f"{REDIRECT}/").json() == {"error": "invalid_grant"}
    assert app.redeem(code, redirect_uri="").json() == {"error": "invalid_grant"}


@pytest.mark.attack(38)
@weakens("aggregator.identity.authorization_requests", "_RULES", ())
@pytest.mark.parametrize(
    "changed",
    [
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": None},
        {"code_challenge_method": "s256"},
        {"code_challenge": "a" * 42},
        {"code_challenge": "a" * 42 + "="},
        {"code_challenge": None},
    ],
    ids=str,
)
def test_without_pkce_as_it_must_be_nothing_is_asked(shared: HttpWorld, changed: dict[str, str | None]) -> None:
    try:
        told = refused(App(shared), **changed)
    except KeyError:  # the weakened build has not even looked
        pytest.fail("it was not refused")
    assert told == {"error": "invalid_request"}


@pytest.mark.attack(38)
@weakens("aggregator.identity.app_tokens", "_GRANTS", UNCHECKED)
@pytest.mark.parametrize("verifier", ["", "a" * 43, "plain"])
def test_a_stolen_code_is_worth_nothing_without_its_verifier(fresh: HttpWorld, verifier: str) -> None:
    app = App(fresh)
    code = app.code()
    assert app.redeem(code, code_verifier=verifier).json() == {"error": "invalid_grant"}
    challenge = app.request["code_challenge"]
    assert app.redeem(code, code_verifier=challenge).json() == {"error": "invalid_grant"}


@pytest.mark.attack(39)
@weakens("aggregator.identity.app_tokens", "handed_out", type("_", (), {"end_family": lambda *_: None}))
@weakens("aggregator.api.caller.Callers", "forget_apps", lambda _: None)
def test_a_code_that_comes_twice_ends_what_was_got_for_it(fresh: HttpWorld) -> None:
    app = App(fresh)
    code = app.code()
    tokens = app.redeem(code).json()
    assert reads(fresh, tokens) == 200
    assert app.redeem(code).json() == {"error": "invalid_grant"}
    assert reads(fresh, tokens) == 401
    assert app.refresh(tokens["refresh_token"]).json() == {"error": "invalid_grant"}


@pytest.mark.attack(39)
@weakens("aggregator.identity.app_tokens", "handed_out", type("_", (), {"end_family": lambda *_: None}))
def test_a_refresh_token_that_comes_twice_ends_its_family(fresh: HttpWorld) -> None:
    app = App(fresh)
    first = app.tokens()
    second = app.refresh(first["refresh_token"]).json()
    third = app.refresh(second["refresh_token"]).json()
    other = App(fresh).tokens()
    assert app.refresh(first["refresh_token"]).json() == {"error": "invalid_grant"}
    assert app.refresh(third["refresh_token"]).json() == {"error": "invalid_grant"}
    assert [reads(fresh, one) for one in (first, second, third, other)] == [401, 401, 401, 200]


@pytest.mark.attack(39)
def test_of_many_that_bring_one_refresh_token_at_once_nobody_keeps_anything(fresh: HttpWorld) -> None:
    app = App(fresh)
    token = app.tokens()["refresh_token"]
    with ThreadPoolExecutor(4) as pool:
        answers = [one.json() for one in pool.map(app.refresh, [token] * 4)]
    given = [one for one in answers if "access_token" in one]
    assert len(given) == 1
    assert app.refresh(given[0]["refresh_token"]).json() == {"error": "invalid_grant"}
    assert reads(fresh, given[0]) == 401


@pytest.mark.attack(39)
@weakens("aggregator.identity.app_tokens.AppTokens", "_end", lambda *_: None)
def test_an_app_that_signs_out_leaves_nothing(fresh: HttpWorld) -> None:
    app = App(fresh)
    first = app.tokens()
    second = app.refresh(first["refresh_token"]).json()
    assert fresh.http.post("/auth/revoke", data={"token": second["refresh_token"]}).status_code == 200
    assert [reads(fresh, one) for one in (first, second)] == [401, 401]
    assert app.refresh(second["refresh_token"]).json() == {"error": "invalid_grant"}


@pytest.mark.attack(40)
@weakens("aggregator.identity.authorization_requests", "_is_here", lambda *_: True)
@pytest.mark.parametrize("audience", ["https://evil.example/fhir", "https://evil.example", "", None])
def test_an_app_that_means_another_server_is_told(shared: HttpWorld, audience: str | None) -> None:
    assert refused(App(shared), aud=audience) == {"error": "invalid_request"}


@pytest.mark.attack(40)
@weakens("aggregator.identity.authorizations.Authorizations", "_back", lambda _, uri, *__: f"{uri}?code=x")
def test_every_answer_says_who_gives_it(fresh: HttpWorld) -> None:
    app = App(fresh)
    told = app.approve(app.ask())
    assert set(told) == {"code", "state", "iss"}
    assert (told["iss"], told["state"]) == (fresh.service.base_url, app.state)
    assert fresh.http.get("/.well-known/oauth-authorization-server").json()["issuer"] == told["iss"]


@pytest.mark.attack(40)
@weakens("aggregator.identity.app_tokens", "_is_for", lambda *_: True)
def test_a_code_and_a_refresh_token_are_one_apps_alone(fresh: HttpWorld) -> None:
    app = App(fresh)
    thief = App(fresh, client="server-app", verifier=app.verifier)
    code = app.code()
    assert thief.redeem(code).json() == {"error": "invalid_grant"}
    tokens = app.redeem(code).json()
    assert thief.refresh(tokens["refresh_token"]).json() == {"error": "invalid_grant"}


def of_any_kind(self: Desk, session: Session, _kind: Kind, token: str, take: Any = Desk.take) -> dict[str, Any]:
    """For `Desk.take`: whatever a token was handed out as, it is taken."""
    for kind in Kind:
        with suppress(Refused):
            found: dict[str, Any] = take(self, session, kind, token)
            return found
    raise Refused("there is none")


@pytest.mark.attack(40)
@weakens("aggregator.identity.handed_out.Desk", "take", of_any_kind)
def test_nothing_that_is_handed_out_passes_for_another_thing(fresh: HttpWorld) -> None:
    app = App(fresh)
    handle = app.ask()
    assert app.redeem(handle).json() == {"error": "invalid_grant"}
    assert app.refresh(handle).json() == {"error": "invalid_grant"}
    code = app.approve(handle)["code"]
    assert app.refresh(code).json() == {"error": "invalid_grant"}
    assert fresh.http.get(f"/app/authorizations/{code}", headers=fresh.owner()).status_code == 403
    assert app.redeem(code).status_code == 200  # what it is not has not used it up


@pytest.mark.attack(41)
@weakens("aggregator.identity.app_tokens", "_is_public", lambda client: client.is_app)
def test_an_app_with_a_key_is_not_believed_its_name(fresh: HttpWorld) -> None:
    answer = redeemed(fresh)
    assert (answer.status_code, answer.json()) == (401, {"error": "invalid_client"})


@pytest.mark.attack(41)
@pytest.mark.parametrize("how", ["unsigned", "others", "others-by-its-name", "late"])
def test_an_app_with_a_key_proves_that_it_has_it(fresh: HttpWorld, how: str) -> None:
    nobodys = [base64.urlsafe_b64encode(part).decode() for part in (b'{"alg":"none"}', b'{"iss":"server-app"}')]
    asserted = {
        "unsigned": ".".join([*nobodys, ""]),
        "others": fresh.assertion("praxis"),
        "others-by-its-name": fresh.assertion("praxis", iss="server-app", sub="server-app"),
        "late": fresh.assertion("server-app", exp=int(fresh.clock().timestamp()) + 400),
    }
    answer = redeemed(fresh, client_assertion_type=ASSERTION, client_assertion=asserted[how])
    assert (answer.status_code, answer.json()) == (401, {"error": "invalid_client"})


def redeemed(world: HttpWorld, **proof: str) -> httpx.Response:
    """A code of the app with a key, with this proof instead of its own."""
    app = App(world, client="server-app")
    form = {"grant_type": "authorization_code", "code": app.code(), "redirect_uri": REDIRECT}
    who = {"code_verifier": app.verifier, "client_id": "server-app"}
    return world.http.post("/auth/token", data=form | who | proof)


@pytest.mark.attack(42)
@weakens("aggregator.identity.app_tokens", "_GRANTS", UNCHECKED)
@pytest.mark.parametrize("scope", ["patient/*.rs", "offline_access patient/*.rs", "system/*.rs", "patient/*.cruds", ""])
def test_a_refresh_does_not_grow(fresh: HttpWorld, scope: str) -> None:
    app = App(fresh, scope="offline_access patient/Observation.rs")
    tokens = app.tokens()
    told = app.refresh(tokens["refresh_token"], scope=scope).json()
    assert told.get("error") == "invalid_scope"
    again = app.refresh(tokens["refresh_token"], scope=tokens["scope"]).json()
    assert again["scope"] == tokens["scope"]


@pytest.mark.attack(42)
@weakens("aggregator.identity.authorizations", "_may_answer", lambda *_: True)
def test_a_launch_from_one_session_is_answered_in_no_other(fresh: HttpWorld) -> None:
    told = fresh.http.post("/app/launches", json={"client_id": "app"}, headers=fresh.owner("berta")).json()
    app = App(fresh, scope="launch patient/*.rs")
    handle = app.ask(launch=told["launch"])
    for method, body in (("GET", None), ("POST", {})):
        answer = fresh.http.request(method, f"/app/authorizations/{handle}", json=body, headers=fresh.owner())
        assert answer.status_code in (400, 403), answer.text
    assert "code" in app.approve(handle, "berta")


@pytest.mark.attack(42)
@weakens("aggregator.identity.authorizations.Authorizations", "_launched", lambda *_: "")
def test_a_launch_is_one_apps_and_used_once(fresh: HttpWorld) -> None:
    told = fresh.http.post("/app/launches", json={"client_id": "app"}, headers=fresh.owner()).json()
    right, other = App(fresh, scope="launch patient/*.rs"), App(fresh, "server-app", "launch patient/*.rs")
    assert refused(right, launch="never-was") == {"error": "invalid_request"}
    right.ask(launch=told["launch"])
    assert refused(right, launch=told["launch"]) == {"error": "invalid_request"}
    again = fresh.http.post("/app/launches", json={"client_id": "app"}, headers=fresh.owner()).json()
    assert refused(other, launch=again["launch"]) == {"error": "invalid_request"}


def named_by_anyone(consents: Any, _vault: str) -> list[Any]:
    """For `app_parties.named`: whoever names an authorization has given it."""
    found = reach.named_values(consents, APP_AUTHORIZATION)
    return [app_parties.party(one) for one in sorted(found)]


@pytest.mark.attack(4)
@weakens("aggregator.identity.app_parties", "named", named_by_anyone)
def test_a_token_opens_one_vault_whatever_others_sign(fresh: HttpWorld) -> None:
    app = App(fresh)
    tokens = app.tokens()
    assert reads(fresh, tokens, "berta") == 404
    found = fresh.get("/fhir/Consent?_count=50", fresh.owner()).json()["entry"]
    (signed,) = (one["resource"] for one in found if APP_AUTHORIZATION in str(one["resource"]))
    theirs = {name: signed[name] for name in signed if name not in ("id", "meta", "patient")}
    assert fresh.http.post("/fhir/Consent", json=theirs, headers=fresh.owner("berta")).status_code == 201
    assert reads(fresh, tokens, "berta") == 404
    assert fresh.get("/fhir/Observation", bearer(tokens)).json()["total"] == 3


@pytest.mark.attack(42)
@weakens(
    "aggregator.identity.app_scopes", "_SCOPE", re.compile(r"(patient|user|system)/(\*|[A-Z]\w+)\.(\w+|\*)(?:\?(.+))?")
)
@pytest.mark.parametrize("scope", ["system/*.rs", "system/Observation.rs patient/Condition.rs"])
def test_an_app_is_given_nothing_without_a_patient(fresh: HttpWorld, scope: str) -> None:
    app = App(fresh, scope=f"{scope} patient/Encounter.rs")
    given = app.tokens()["scope"].split()
    assert not any(one.startswith("system/") for one in given)
    form = {"grant_type": "client_credentials", "scope": "system/*.rs", "client_assertion_type": ASSERTION}
    answer = fresh.http.post("/auth/token", data=form | {"client_assertion": fresh.assertion("server-app")})
    assert answer.json() == {"error": "unauthorized_client"}


@pytest.mark.attack(44)
@weakens("aggregator.api.oauth_routes", "_redirect", lambda url: leaking(url))
def test_no_token_stands_in_a_log_an_error_or_an_address(
    fresh: HttpWorld, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    app = App(fresh)
    with caplog.at_level(logging.DEBUG, logger="aggregator"):
        handle = app.ask()
        code = app.approve(handle)["code"]
        tokens = app.redeem(code).json()
        answers = [
            app.redeem(code),
            app.refresh(tokens["refresh_token"]),
            app.send({"grant_type": "refresh_token", "refresh_token": code}),
            fresh.get("/fhir/Observation", bearer(tokens)),
            fresh.http.get(f"/app/authorizations/{handle}", headers=fresh.owner()),
            fresh.http.post("/auth/revoke", data={"token": tokens["access_token"]}),
        ]
    told = capfd.readouterr()
    secret = [code, app.verifier, *(tokens[name] for name in ("access_token", "refresh_token", "id_token"))]
    places = [caplog.text, told.out, told.err, *(str(one.headers) + one.text for one in answers)]
    assert [one for one in secret if any(one in place for place in places)] == []
    assert {one.headers["cache-control"] for one in answers} == {"no-store"}
    assert {one.headers["referrer-policy"] for one in answers} == {"no-referrer"}


def leaking(url: str) -> Response:
    """For `_redirect`: what is redirected to stands in a log."""
    logging.getLogger("aggregator").warning("redirected to %s", url)
    raise RuntimeError


def by_cookie(self: Callers, request: Request) -> Any:
    """For `Callers.of`: a session that the browser sends along by itself is enough."""
    cookie = request.cookies.get("session")
    return self.remembered(cookie or request.headers["authorization"].partition(" ")[2])


@pytest.mark.attack(47)
@weakens("aggregator.api.caller.Callers", "of", by_cookie)
def test_another_sites_page_approves_nothing(fresh: HttpWorld) -> None:
    """A browser sends cookies along with a form of any site; a bearer token it does not."""
    handle = App(fresh).ask()
    cookie = {"Cookie": f"session={fresh.owners['erika']}"}
    for method in ("GET", "POST", "DELETE"):
        answer = fresh.http.request(method, f"/app/authorizations/{handle}", json={}, headers=cookie)
        assert answer.status_code == 401, answer.text
    assert fresh.http.post("/app/launches", json={"client_id": "app"}, headers=cookie).status_code == 401


@pytest.mark.attack(47)
@weakens(
    "aggregator.identity.handed_out.Desk", "take", lambda self, session, kind, token: self.look(session, kind, token)
)
def test_a_question_is_answered_once(fresh: HttpWorld) -> None:
    app = App(fresh)
    handle = app.ask()
    app.approve(handle)
    for method in ("POST", "DELETE"):
        answer = fresh.http.request(method, f"/app/authorizations/{handle}", json={}, headers=fresh.owner())
        assert answer.status_code == 403


@pytest.mark.attack(47)
@weakens("aggregator.api.headers", "_ALWAYS", ())
def test_no_answer_can_be_framed(shared: HttpWorld) -> None:
    answers = [App(shared).authorize(), App(shared).authorize(client_id="x"), App(shared).authorize(state=None)]
    for answer in answers:
        assert "frame-ancestors 'none'" in answer.headers.get("content-security-policy", "")


@pytest.mark.attack(47)
@weakens("aggregator.identity.handed_out", "_is_over", lambda *_: False)
def test_what_is_handed_out_does_not_stay(fresh: HttpWorld) -> None:
    app, late = App(fresh), App(fresh)
    code, handle = app.code(), late.ask()
    fresh.clock.now += timedelta(seconds=61)
    assert app.redeem(code).json() == {"error": "invalid_grant"}
    fresh.clock.now += timedelta(minutes=10)
    assert fresh.http.get(f"/app/authorizations/{handle}", headers=fresh.owner()).status_code == 403
