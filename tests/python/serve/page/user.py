"""What a user does with the page."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Locator, Page, expect

Open = Callable[..., Page]
expect.set_options(timeout=60_000)  # beside busy neighbors


def button(place: Page | Locator, name: str) -> Locator:
    return place.get_by_role("button", name=name, exact=True)


def ask(page: Page, text: str) -> Locator:
    """Sends a question and waits for the end of its answer."""
    before = page.locator("#messages article").count()
    page.locator("#question").fill(text)
    page.keyboard.press("Enter")
    expect(page.locator("#messages article")).to_have_count(before + 2)
    return finished(page)


def finished(page: Page) -> Locator:
    """The last answer, when it has ended."""
    answer = page.locator("article.assistant").last
    expect(answer).to_have_attribute("aria-busy", "false")
    return answer
