"""Signing in and out in a browser, with and without JavaScript."""

from __future__ import annotations

from playwright.sync_api import Browser, Page, expect

from tests.api.http_world import HttpWorld
from tests.portal.browsing import press, shows, sign_in, speak


def test_who_comes_first_is_told_what_this_is_and_signs_in(page: Page) -> None:
    page.goto("/app")
    shows(page, "Ihre Gesundheitsakte")
    page.get_by_role("link", name="Anmelden").click()
    sign_in(page)
    expect(page).to_have_url("/app")
    press(page, "Abmelden")
    shows(page, "Sie sind abgemeldet")
    page.goto("/app/devices")
    shows(page, "Anmelden")


def test_who_wanted_a_page_is_there_after_signing_in(page: Page) -> None:
    sign_in(page, at="/app/devices")
    shows(page, "Wo Sie angemeldet sind")


def test_a_wrong_password_is_told_and_the_login_stays(page: Page) -> None:
    sign_in(page, "berta", "falsch, ganz falsch", at="/app/devices")
    expect(page.get_by_role("alert").filter(visible=True)).to_contain_text("Das hat nicht geklappt")
    expect(page.get_by_label("Ihr Anmeldename")).to_have_value("berta")


def test_the_language_is_chosen_and_stays(page: Page) -> None:
    page.goto("/app/sign-in")
    speak(page, "English")
    shows(page, "Sign in")
    page.goto("/app")
    shows(page, "Your health record")


def test_it_goes_without_javascript(browser: Browser, world: HttpWorld) -> None:
    context = browser.new_context(base_url=world.service.base_url, locale="de-DE", java_script_enabled=False)
    page = context.new_page()
    sign_in(page, at="/app/devices")
    shows(page, "Wo Sie angemeldet sind")
    context.close()
