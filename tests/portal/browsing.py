"""What people do in the pages, and what is wrong with a page."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.api.http_world import PASSWORD

_AXE = """async () => {
  const found = await axe.run(document, {resultTypes: ["violations"]});
  return found.violations.map(one => `${one.id}: ${one.nodes.map(node => node.target).join(" ")}`);
}"""


def sign_in(page: Page, login: str = "erika", password: str = PASSWORD, at: str = "/app/sign-in") -> None:
    """By password, at the sign-in page or at whatever page asks for it."""
    page.goto(at)
    page.get_by_label("Ihr Anmeldename").fill(login)
    page.get_by_label("Ihr Passwort").fill(password)
    page.get_by_role("button", name="Anmelden", exact=True).click()


def fill(page: Page, **fields: str) -> None:
    """Type into fields, by their names in the form."""
    for name, text in fields.items():
        page.locator(f"main [name={name}]").fill(text)


def speak(page: Page, language: str) -> None:
    """Change the language of the page one is on."""
    page.get_by_role("button", name=language).click()


def wrong_with(page: Page, axe: str) -> list[str]:
    """What axe-core finds, and what is wider than the page."""
    page.evaluate(axe)
    found: list[str] = page.evaluate(_AXE)
    wide = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    return [*found, *(["wider than the screen"] if wide else [])]


def passkeys(page: Page) -> None:
    """From here on the browser has an authenticator of its own, with PRF, whose user touches it at once."""
    tools = page.context.new_cdp_session(page)
    tools.send("WebAuthn.enable")
    told = {"protocol": "ctap2", "ctap2Version": "ctap2_1", "transport": "internal", "hasPrf": True}
    able = {"hasResidentKey": True, "hasUserVerification": True, "isUserVerified": True}
    tools.send("WebAuthn.addVirtualAuthenticator", {"options": told | able | {"automaticPresenceSimulation": True}})


def shows(page: Page, title: str) -> None:
    """The page has this heading, or gets it within seconds."""
    expect(page.get_by_role("heading", level=1)).to_have_text(title, timeout=10_000)


def press(page: Page, name: str) -> None:
    """The button with this name."""
    page.get_by_role("button", name=name, exact=True).click()
