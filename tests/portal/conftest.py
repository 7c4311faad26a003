"""A browser over a whole installation: Debian's headless Chromium, at http://localhost, where passkeys work.

`page` is one person's browser: its requests all stay on this machine, and nothing in it is against the pages' policy.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.api.conftest import http_template
from tests.api.http_world import REDIRECT, HttpWorld, http_world
from tests.api.node_clients import installed

__all__ = ["http_template", "installed"]

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def world(http_template: HttpWorld, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpWorld]:
    """The settled world of tests/api, called localhost; the module's own."""
    with http_world(tmp_path_factory.mktemp("portal"), http_template, "localhost") as made:
        yield made


@pytest.fixture(scope="module")
def browser(world: HttpWorld) -> Iterator[Browser]:
    """One for the module, started after the world: from then on this thread can run no loop of its own."""
    _ = world
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not here")
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def page(browser: Browser, world: HttpWorld) -> Iterator[Page]:
    """A new browser of somebody with a phone, who reads German."""
    context = browser.new_context(
        base_url=world.service.base_url, locale="de-DE", viewport={"width": 360, "height": 740}
    )
    context.set_default_timeout(10_000)
    made, asked, wrong = context.new_page(), list[str](), list[str]()
    context.on("request", lambda request: asked.append(request.url))
    context.on("console", lambda told: wrong.append(told.text) if "Content Security Policy" in told.text else None)
    made.on("pageerror", lambda error: wrong.append(str(error)))
    yield made
    context.close()
    assert {urlsplit(url).hostname for url in asked} <= {
        "localhost",
        urlsplit(REDIRECT).hostname,
    }  # an app's is not asked
    assert wrong == []


@pytest.fixture(scope="module")
def axe(installed: Path) -> str:
    """axe-core, as one script."""
    return (installed / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
