"""A new record, its recovery code on paper, and the way back by it."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from aggregator.identity import invitations
from tests.api.http_world import PASSWORD, HttpWorld
from tests.portal.browsing import fill, press, shows, sign_in

NEW = "Ein neues langes Wort"
GRETA = {"given": "Greta", "family": "Groß", "birth_date": "1941-05-06"}


def _sign_up(page: Page, login: str, **more: str) -> None:
    page.goto("/app/sign-up")
    fill(page, **GRETA, login=login, new_password=PASSWORD, again=PASSWORD, **more)
    press(page, "Akte anlegen")


def test_a_record_is_made_its_code_typed_back_and_opens_it_again(world: HttpWorld, page: Page) -> None:
    _sign_up(page, "greta", kvnr="A123456780")
    code = page.locator(".code").inner_text()
    page.goto("/app")
    expect(page.get_by_text("noch nicht bestätigt")).to_be_visible()
    page.get_by_role("link", name="Code jetzt eingeben").click()
    fill(page, code=code)
    press(page, "Bestätigen")
    expect(page.get_by_text("noch nicht bestätigt")).to_have_count(0)
    press(page, "Abmelden")
    page.goto("/app/sign-in")
    page.get_by_role("link", name="Passwort vergessen?").click()
    fill(page, login="greta", code=code, new_password=NEW, again=NEW)
    press(page, "Passwort setzen")
    shows(page, "Guten Tag")
    assert world.http.post("/auth/sign-in", json={"login": "greta", "password": NEW}).status_code == 200


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"again": "etwas anderes"}, "nicht gleich"),
        ({"new_password": "kurz", "again": "kurz"}, "mindestens 10 Zeichen"),
        ({"login": "a#b"}, "#"),
        ({"login": "erika"}, "einen anderen"),
        ({"kvnr": "123"}, "Versichertennummer"),
        ({"birth_date": "2999-01-01"}, "Geburtsdatum"),
    ],
)
def test_what_is_wrong_is_told_and_what_was_right_stays(page: Page, wrong: dict[str, str], told: str) -> None:
    page.goto("/app/sign-up")
    fill(page, **GRETA | {"login": "gerda", "new_password": PASSWORD, "again": PASSWORD} | wrong)
    press(page, "Akte anlegen")
    expect(page.get_by_role("alert")).to_contain_text(told)
    expect(page.get_by_label("Nachname")).to_have_value("Groß")
    expect(page.get_by_label("Neues Passwort")).to_have_value("")


def test_who_was_invited_signs_up_once(world: HttpWorld, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    service = world.service
    monkeypatch.setattr(service.accounts, "who_signs_up", "invitation")
    code = invitations.issue(service.store, service.key_service, world.clock().timestamp(), 14)
    _sign_up(page, "ida", invitation="ABCD-EFGH")
    expect(page.get_by_role("alert")).to_contain_text("Einladungscode")
    _sign_up(page, "ida", invitation=code.lower())
    shows(page, "Ihr Wiederher\u00adstellungs\u00adcode")
    _sign_up(page, "ina", invitation=code)
    expect(page.get_by_role("alert")).to_contain_text("Einladungscode")


def test_where_nobody_signs_up_that_is_told(world: HttpWorld, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.service.accounts, "who_signs_up", "closed")
    page.goto("/app")
    expect(page.get_by_role("link", name="Neue Akte anlegen")).to_have_count(0)
    page.goto("/app/sign-up")
    expect(page.get_by_role("alert")).to_contain_text("keine neue Akte")
    told = {"login": "x", "password": PASSWORD, "given": "A", "family": "B", "birth_date": "1950-01-01"}
    assert world.http.post("/auth/sign-up", json=told).status_code == 403


def test_a_wrong_code_or_a_slip_is_told(world: HttpWorld, page: Page) -> None:
    world.sign_up("karl", "Alt", "1950-01-01")
    sign_in(page, "karl", "falsch, ganz falsch")
    page.goto("/app/recover")
    fill(page, login="karl", code="abc", new_password=NEW, again=NEW)
    press(page, "Passwort setzen")
    expect(page.get_by_role("alert")).to_contain_text("Tippfehler")
