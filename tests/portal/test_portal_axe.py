"""Every page, in both languages, on the narrowest screen: axe-core finds nothing, and nothing is too wide for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from tests.api.app_world import App
from tests.api.http_world import PASSWORD, HttpWorld
from tests.portal.browsing import fill, passkeys, wrong_with

FOR_ANYONE = ("/app", "/app/sign-in", "/app/sign-up", "/app/recover", "/app/devices")
FOR_THE_OWNER = ("/app", "/app/devices", "/app/ways-in", "/app/ways-in/password", "/app/ways-in/code/proof")


@pytest.fixture
def check(page: Page, axe: str) -> Callable[[], None]:
    """What the page shows now."""

    def checked() -> None:
        assert wrong_with(page, axe) == [], page.url

    return checked


@pytest.mark.parametrize("language", ["de", "en"])
def test_every_page(world: HttpWorld, page: Page, check: Callable[[], None], language: str) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    passkeys(page)
    page.goto("/app")
    page.locator(f"button[value={language}]").click()
    for path in FOR_ANYONE:
        page.goto(path)
        assert page.locator("html").get_attribute("lang") == language
        check()
    fill(page, login="erika", unlock_password="falsch, ganz falsch")
    _send(page)
    check()
    fill(page, login="erika", unlock_password=PASSWORD)
    _send(page)
    check()
    for path in FOR_THE_OWNER:
        page.goto(path)
        check()
    for path in ("/app/ways-in/passkey", "/app/ways-in/code"):
        page.goto("/app/ways-in")
        page.locator(f"form[action='{path}'] button").click()
        check()
    page.goto(f"/app/authorize?request={App(world).ask()}")
    check()
    page.goto("/app/authorize?request=over")
    check()
    world.clock.advance(minutes=6)
    page.goto("/app/ways-in/password")
    check()
    page.locator("header button").click()
    check()


def test_axe_would_notice(page: Page, axe: str) -> None:
    page.goto("/app")
    page.evaluate("document.documentElement.lang = ''")
    assert [one.partition(":")[0] for one in wrong_with(page, axe)] == ["html-has-lang"]


def test_all_of_it_goes_by_keyboard(page: Page) -> None:
    page.goto("/app")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Zum Inhalt"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/app/sign-in")
    page.locator("#login").focus()
    page.keyboard.type("erika")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/app")
    assert page.get_by_role("heading", level=1).inner_text() == "Guten Tag"


def _send(page: Page) -> None:
    page.locator("main form button:not([type=button])").click()
