"""Signing in and out in a browser."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.portal.browsing import sign_in, speak, wrong_with


def test_who_comes_first_is_told_what_this_is_and_signs_in(page: Page) -> None:
    page.goto("/app")
    expect(page.get_by_role("heading", level=1)).to_have_text("Ihre Gesundheitsakte")
    page.get_by_role("link", name="Anmelden").click()
    sign_in(page)
    expect(page).to_have_url("/app")
    page.get_by_role("button", name="Abmelden").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sie sind abgemeldet")


def test_axe(page: Page, axe: str) -> None:
    page.goto("/app")
    assert wrong_with(page, axe) == []
    speak(page, "English")
    assert wrong_with(page, axe) == []
    page.goto("/app/sign-in")
    assert wrong_with(page, axe) == []
