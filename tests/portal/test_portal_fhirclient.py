"""SMART's fhirclient.js in a browser, as an app of another site: https://docs.smarthealthit.org/client-js/"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from playwright.sync_api import Page, Route

from tests.api.http_world import REDIRECT, HttpWorld
from tests.portal.browsing import press, shows, sign_in

HOME = REDIRECT.removesuffix("/callback")
_PAGE = "<!doctype html><title>app</title><script src='/fhir-client.js'></script><script>{script}</script>"
_LAUNCH = """
const told = new URLSearchParams(location.search);
FHIR.oauth2.authorize({clientId: "app", redirectUri: "callback", scope: told.get("scope"), iss: told.get("iss")});
"""
_CALLBACK = """
window.found = FHIR.oauth2.ready().then(async (client) => {
  const count = async () => (await client.request(`Observation?patient=${client.patient.id}&_summary=count`)).total;
  const before = await count();
  await client.refresh();
  const again = [before, await count()];
  const family = (await client.patient.read()).name[0].family;
  return {again, family, user: client.user.fhirUser, scope: client.state.tokenResponse.scope};
});
"""


@pytest.fixture
def app(page: Page, installed: Path) -> Page:
    """The app's own site, in one person's browser."""
    script = (installed / "node_modules" / "fhirclient" / "build" / "fhir-client.js").read_text(encoding="utf-8")
    files = {"/launch": _PAGE.format(script=_LAUNCH), "/callback": _PAGE.format(script=_CALLBACK)}

    def serve(route: Route) -> None:
        path = urlsplit(route.request.url).path
        if path == "/fhir-client.js":
            route.fulfill(body=script, content_type="text/javascript")
        else:
            route.fulfill(body=files[path], content_type="text/html")

    page.context.grant_permissions(["local-network-access"])  # the service is on this machine, the app's site is not
    page.route(f"{HOME}/**", serve)
    return page


def found(page: Page) -> Any:
    page.wait_for_url(f"{REDIRECT}*")
    return page.evaluate("window.found")


def test_it_launches_by_itself(world: HttpWorld, app: Page) -> None:
    base, scope = f"{world.service.base_url}/fhir", "launch/patient openid fhirUser offline_access patient/*.rs"
    sign_in(app)
    shows(app, "Guten Tag")
    app.goto(f"{HOME}/launch?{urlencode({'iss': base, 'scope': scope})}")
    shows(app, "Darf diese App in Ihrer Akte lesen?")
    press(app, "Erlauben")
    assert found(app) == {
        "again": [3, 3],
        "family": "Muster",
        "user": f"Patient/{world.patients['erika']}",
        "scope": scope,
    }


def test_it_is_launched_from_the_patients_session(world: HttpWorld, app: Page) -> None:
    told = world.http.post("/app/launches", json={"client_id": "app"}, headers=world.owner()).json()
    sign_in(app)
    shows(app, "Guten Tag")
    app.goto(f"{HOME}/launch?{urlencode(told | {'scope': 'launch openid fhirUser online_access patient/*.rs'})}")
    shows(app, "Darf diese App in Ihrer Akte lesen?")
    press(app, "Erlauben")
    assert found(app)["again"] == [3, 3]
