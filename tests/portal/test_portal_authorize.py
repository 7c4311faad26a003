"""An app asks in the browser; the patient narrows, allows or refuses."""

from __future__ import annotations

from urllib.parse import urlencode

from playwright.sync_api import Page, expect

from tests.api.app_world import App, answered, bearer
from tests.api.http_world import PASSWORD, REDIRECT, HttpWorld
from tests.portal.browsing import press, shows, sign_in, speak


def _asked(page: Page, app: App) -> None:
    """The app sends the browser, which nobody is signed in to."""
    page.route(f"{REDIRECT}*", lambda route: route.fulfill(body="the app"))
    sign_in(page, at=f"/auth/authorize?{urlencode(app.request)}")
    shows(page, "Darf diese App in Ihrer Akte lesen?")


def test_an_app_reads_what_was_left(world: HttpWorld, page: Page) -> None:
    app = App(world, scope="launch/patient offline_access patient/Observation.rs patient/Condition.rs")
    _asked(page, app)
    expect(page.get_by_text("Sie liest auch, wenn Sie gerade nicht da sind.")).to_be_visible()
    page.get_by_label("Diagnosen", exact=True).uncheck()
    page.get_by_label("Eine Woche").check()
    press(page, "Erlauben")
    page.wait_for_url(f"{REDIRECT}*")
    told = answered(page.url)
    assert told["state"] == app.state
    tokens = app.redeem(told["code"]).json()
    assert tokens["scope"] == "launch/patient offline_access patient/Observation.rs"
    assert world.get(f"/fhir/Observation?patient={tokens['patient']}", bearer(tokens)).json()["total"] > 0


def test_refusing_is_as_easy_and_needs_no_unlock(world: HttpWorld, page: Page) -> None:
    app = App(world)
    _asked(page, app)
    world.clock.advance(minutes=6)
    press(page, "Nicht erlauben")
    page.wait_for_url(f"{REDIRECT}*")
    assert answered(page.url)["error"] == "access_denied"


def test_allowing_asks_who_it_is_and_keeps_what_was_ticked(world: HttpWorld, page: Page) -> None:
    app = App(world)
    _asked(page, app)
    page.get_by_label("Medikamente", exact=True).uncheck()
    world.clock.advance(minutes=6)
    press(page, "Erlauben")
    shows(page, "Sind Sie es?")
    page.get_by_label("Ihr Passwort").fill(PASSWORD)
    press(page, "Weiter")
    page.wait_for_url(f"{REDIRECT}*")
    tokens = app.redeem(answered(page.url)["code"]).json()
    assert world.get(f"/fhir/MedicationRequest?patient={tokens['patient']}", bearer(tokens)).json()["total"] == 0


def test_another_language_is_of_the_same_question(world: HttpWorld, page: Page) -> None:
    _asked(page, App(world))
    speak(page, "English")
    shows(page, "May this app read your record?")


def test_where_nothing_is_left_the_patient_is_asked_again(world: HttpWorld, page: Page) -> None:
    _asked(page, App(world, scope="launch/patient patient/Observation.rs"))
    page.get_by_label("Messwerte und Laborwerte").uncheck()
    press(page, "Erlauben")
    expect(page.get_by_role("alert")).to_contain_text("Kreuzen Sie an")


def test_what_is_over_is_told(page: Page) -> None:
    sign_in(page, at="/app/authorize?request=nothing")
    expect(page.get_by_role("alert")).to_contain_text("beantwortet oder abgelaufen")
