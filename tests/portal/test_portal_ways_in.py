"""Passkeys with PRF, password and recovery code, in a browser."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.api.http_world import PASSWORD, HttpWorld
from tests.portal.browsing import passkeys, press, shows, sign_in

NEW = "Ein neues langes Wort"


def test_a_passkey_is_added_and_opens_the_record(world: HttpWorld, page: Page) -> None:
    _ = world
    passkeys(page)
    sign_in(page, "berta", at="/app/ways-in")
    press(page, "Passkey hinzufügen")
    page.get_by_label("Name für den Passkey").fill("Mein <b>Handy</b>")
    press(page, "Passkey anlegen")
    expect(page.get_by_role("heading", name="Passkey: Mein <b>Handy</b>")).to_be_visible()
    press(page, "Abmelden")
    page.goto("/app/devices")
    press(page, "Mit Passkey")
    shows(page, "Wo Sie angemeldet sind")


def test_a_change_waits_for_an_unlock_and_is_done_then(world: HttpWorld, page: Page) -> None:
    world.sign_up("paula", "Neu", "1950-01-01")
    sign_in(page, "paula")
    world.clock.advance(minutes=10)
    page.goto("/app/ways-in")
    press(page, "Neuer Wiederher\u00adstellungs\u00adcode")
    shows(page, "Sind Sie es?")
    page.get_by_label("Ihr Passwort").fill("falsch, ganz falsch")
    press(page, "Weiter")
    expect(page.get_by_role("alert").filter(visible=True)).to_contain_text("Das hat nicht geklappt")
    page.get_by_label("Ihr Passwort").fill(PASSWORD)
    press(page, "Weiter")
    code = page.locator(".code").inner_text()
    page.get_by_role("link", name="Ich habe ihn aufgeschrieben").click()
    page.get_by_label("Ihr Code").fill(code[:-2])
    press(page, "Bestätigen")
    expect(page.get_by_role("alert")).to_contain_text("Tippfehler")
    page.get_by_label("Ihr Code").fill(code.lower())
    press(page, "Bestätigen")
    shows(page, "Guten Tag")
    vault = world.patients["paula"].partition(".")[0]
    assert world.service.accounts.recovery_proven(vault)


def test_a_new_password_ends_every_other_session(world: HttpWorld, page: Page) -> None:
    world.sign_up("otto", "Alt", "1950-01-01")
    sign_in(page, "otto", at="/app/ways-in/password")
    for label, text in (("Neues Passwort", NEW), ("Noch einmal", "etwas anderes")):
        page.get_by_label(label).fill(text)
    press(page, "Ändern")
    expect(page.get_by_role("alert")).to_contain_text("nicht gleich")
    for label in ("Neues Passwort", "Noch einmal"):
        page.get_by_label(label).fill(NEW)
    press(page, "Ändern")
    shows(page, "Ihre Zugänge")
    assert world.get("/app/sessions", world.owner("otto")).status_code == 401
    page.goto("/app/devices")
    expect(page.get_by_text("Dieses Gerät")).to_be_visible()
    expect(page.get_by_role("button", name="Alle anderen abmelden")).to_have_count(0)


def test_another_session_is_ended(world: HttpWorld, page: Page) -> None:
    world.sign_up("hanna", "Alt", "1950-01-01")
    sign_in(page, "hanna", at="/app/devices")
    page.locator("main").get_by_role("button", name="Abmelden").first.click()
    expect(page.locator("main li")).to_have_count(1)
    assert world.get("/app/sessions", world.owner("hanna")).status_code == 401
