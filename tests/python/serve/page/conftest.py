"""A browser on the page. One window for all tests: opening it anew costs more than a test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Literal

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from tests.python.serve.page.user import Open
from tests.python.serve.page_server import Double, serving

FLAGS = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
EMPTY = "page/logo.svg"  # of the server, without scripts


@pytest.fixture(scope="module")  # not longer: its event loop would be in the way of other tests
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None and os.environ.get("CI") != "true":
        pytest.skip("Chromium is not installed (Debian: chromium)")
    assert chromium, "Chromium is missing: apt-get install chromium"
    sandbox = [] if os.getuid() else ["--no-sandbox"]  # Chromium has none for root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*FLAGS, *sandbox], timeout=120_000)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def running_server() -> Iterator[Double]:
    with serving() as double:
        yield double


@pytest.fixture
def server(running_server: Double) -> Double:
    running_server.reset()
    return running_server


class Windows:
    """A window for each language, and what they complained about. `strict`: whatever the console shows as wrong, also
    refused requests."""

    def __init__(self, browser: Browser, url: str, strict: bool = False) -> None:
        self._browser = browser
        self._url = url
        self._strict = strict
        self._pages: dict[str, Page] = {}
        self.complaints: list[str] = []

    def open(
        self,
        path: str = "",
        width: int = 1280,
        height: int = 800,
        locale: str = "en-US",
        scheme: Literal["light", "dark"] = "light",
        motion: Literal["reduce", "no-preference"] = "reduce",  # what moves costs time
    ) -> Page:
        page = self._pages.get(locale)
        if page is None:
            page = self._pages[locale] = self._browser.new_context(locale=locale).new_page()
            self._watch(page)
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme, reduced_motion=motion)
        page.goto(self._url + EMPTY)
        page.evaluate("() => { localStorage.clear(); sessionStorage.clear(); }")
        page.goto(self._url + path)
        return page

    def _watch(self, page: Page) -> None:
        def on_console(message: ConsoleMessage) -> None:
            wrong = self._strict and message.type in ("error", "warning")
            if wrong or "Content Security Policy" in message.text:
                self.complaints.append(message.text)

        def on_request(request: Request) -> None:
            if not request.url.startswith((self._url, "blob:")):
                self.complaints.append(f"request to {request.url}")

        page.set_default_timeout(60_000)
        page.on("console", on_console)
        page.on("request", on_request)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))


@pytest.fixture(scope="module")
def windows(browser: Browser, running_server: Double) -> Windows:
    return Windows(browser, running_server.url)


@pytest.fixture
def open_page(windows: Windows, server: Double) -> Iterator[Open]:
    """open_page(path, width=360, locale="tr-TR", ...); at the end, no script may have failed or broken the policy."""
    windows.complaints.clear()
    yield windows.open
    server.release.set()
    assert windows.complaints == []
