"""What a patient decides in a browser: who sees what, what would be seen, who asks, and who was there."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.api.http_world import HttpWorld
from tests.api.test_api_access_requests import ask, conditions
from tests.portal.browsing import sign_in, wrong_with


def test_who_sees_what_and_an_end_to_it(page: Page, world: HttpWorld, axe: str) -> None:
    world.get(f"/fhir/Observation?patient={world.patients['erika']}", world.token("labor"))
    sign_in(page, at="/app/access")
    labor = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name="labor"))
    expect(labor).to_contain_text("Darf lesen: Befunde und Messwerte")
    expect(labor).to_contain_text("Zuletzt gelesen: 21. November 2026")
    assert wrong_with(page, axe) == []
    labor.get_by_role("link", name="Ihre Einwilligung").click()
    expect(page.get_by_text("Erlaubt ist: für labor; Bereiche: Befunde und Messwerte")).to_be_visible()
    assert wrong_with(page, axe) == []
    page.get_by_role("link", name="Zurück").click()
    page.get_by_role("button", name="Zugriff beenden labor").click()
    expect(page.get_by_role("heading", name="labor")).to_have_count(0)
    assert "entry" not in world.get(f"/fhir/Observation?patient={world.patients['erika']}", world.token("labor")).json()


def test_what_would_be_seen_is_shown_before_it_is_signed(page: Page, world: HttpWorld, axe: str) -> None:
    sign_in(page, at="/app/access")
    page.get_by_role("link", name="Jemandem etwas zeigen").click()
    assert wrong_with(page, axe) == []
    page.get_by_label("Wem").select_option("labor")
    for box in page.get_by_role("checkbox").all():
        box.uncheck()
    page.get_by_role("button", name="Ansehen").click()
    expect(page.get_by_role("alert")).to_have_text("Bitte wählen Sie, wem und was.")
    page.get_by_label("Wem").select_option("labor")
    page.get_by_label("Diagnosen und Probleme").check()
    page.get_by_role("button", name="Ansehen").click()
    expect(page.get_by_text("Neu zu sehen: ")).to_be_visible()
    bar = page.get_by_role("listitem").filter(has_text="Diagnosen und Probleme").first
    expect(bar).to_contain_text("1 von 1")
    assert wrong_with(page, axe) == []
    assert conditions(world, "labor") == 0
    page.get_by_role("button", name="So unterschreiben").click()
    expect(page).to_have_url(re.compile("/app/access$"))
    assert conditions(world, "labor") == 1


def test_a_request_is_answered(page: Page, world: HttpWorld, axe: str) -> None:
    ask(world, world.patients["erika"])
    sign_in(page, at="/app/requests")
    expect(page.get_by_role("heading", name="fremd")).to_be_visible()
    assert wrong_with(page, axe) == []
    page.get_by_role("link", name="Ansehen fremd").click()
    expect(page.get_by_text("Wir behandeln Sie ab Montag")).to_be_visible()
    assert wrong_with(page, axe) == []
    page.get_by_label("Befunde und Messwerte").uncheck()
    page.get_by_role("button", name="Erlauben", exact=True).click()
    expect(page).to_have_url(re.compile("/app/access$"))
    card = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name="fremd"))
    expect(card).to_contain_text("Darf lesen: Diagnosen und Probleme")
    assert conditions(world) == 1


def test_a_request_is_refused(page: Page, world: HttpWorld) -> None:
    ask(world, world.patients["berta"], "labor")
    sign_in(page, "berta", at="/app/requests")
    page.get_by_role("link", name="Ansehen labor").click()
    page.get_by_role("button", name="Nicht erlauben").click()
    expect(page.get_by_text("Niemand wartet auf eine Antwort.")).to_be_visible()


def test_who_was_in_the_record(page: Page, world: HttpWorld, axe: str) -> None:
    world.get(f"/fhir/Condition?patient={world.patients['erika']}", world.token("praxis"))
    sign_in(page, at="/app/receipts")
    seen = page.get_by_role("listitem").filter(has_text="praxis hat 1 Eintrag gesehen")
    expect(seen.first).to_contain_text("Wofür: Behandlung")
    assert wrong_with(page, axe) == []
    page.get_by_role("link", name="Auch zeigen, was Sie selbst taten").click()
    expect(page.get_by_text("Sie haben Ihre Akte gelesen.").first).to_be_visible()
    assert wrong_with(page, axe) == []


def test_what_happened_is_told_first(page: Page, world: HttpWorld, axe: str) -> None:
    world.consent("praxis", "berta", period={"end": "2026-12-01"})
    world.get(f"/fhir/Condition?patient={world.patients['berta']}", world.token("praxis"))
    sign_in(page, "berta")
    expect(page.get_by_text("Jemand hat zum ersten Mal in Ihrer Akte gelesen.")).to_be_visible()
    expect(page.get_by_text("Diese Zugriffe enden bald: praxis.")).to_be_visible()
    assert wrong_with(page, axe) == []
    page.get_by_role("button", name="Gelesen").click()
    expect(page.get_by_text("Jemand hat zum ersten Mal")).to_have_count(0)


def test_an_emergency_is_allowed_and_taken_back(page: Page, axe: str) -> None:
    sign_in(page, "berta", at="/app/what-if")
    page.get_by_label("Wem").select_option("any-provider")
    page.get_by_role("button", name="Ansehen").click()
    expect(page.get_by_text("Nur im Notfall: jede hier angemeldete Praxis oder Klinik sähe")).to_be_visible()
    page.get_by_role("button", name="So unterschreiben").click()
    card = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name="jede hier angemeldete"))
    card.get_by_role("link", name="Ihre Einwilligung").click()
    expect(page.get_by_text("Zweck: Notfallzugriff ohne Rückfrage")).to_be_visible()
    page.get_by_role("button", name="Einwilligung zurücknehmen").click()
    expect(page.get_by_role("heading", name="jede hier angemeldete")).to_have_count(0)
    page.get_by_role("link", name="Alle Ihre Einwilligungen").click()
    expect(page.get_by_text("Diese Einwilligung gilt nicht.")).to_be_visible()
    assert wrong_with(page, axe) == []
