"""Keyboard, names, contrast, phones, appearance."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.python.serve.page.user import Open, ask, button, finished
from tests.python.serve.page_server import Double


def test_the_keyboard_alone_is_enough(open_page: Open, server: Double) -> None:
    page = open_page()
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    page.keyboard.type("line one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("line two")
    page.keyboard.press("Enter")
    finished(page)
    assert server.asked[0]["messages"][0]["content"] == "line one\nline two"
    page.keyboard.type("slow now")
    page.keyboard.press("Enter")
    expect(page.locator("article.assistant .text").last).to_have_text("First words")
    page.keyboard.press("Escape")
    expect(page.locator("article.assistant").last).to_contain_text("Stopped")
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    reached: list[str] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        name, is_visible = page.evaluate(FOCUSED)
        reached.append(name)
        assert is_visible, name
    for name in (
        "Monitor",
        "Settings",
        "New conversation",
        "Edit",
        "Ask again",
        "Good",
        "Correct",
        "Evidence",
        "question",
        "Send",
    ):
        assert name in reached
    page.locator("#skip").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    expect(page.locator("#chat")).to_be_visible()


def test_a_panel_opens_and_closes_by_keyboard(open_page: Open) -> None:
    page = open_page(width=800)
    opener = button(page, "Settings")
    opener.press("Enter")
    expect(page.get_by_label("Model")).to_be_focused()
    expect(opener).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Escape")
    expect(page.locator("#options")).to_be_hidden()
    expect(opener).to_be_focused()


FOCUSED = """() => {
  const node = document.activeElement;
  const isVisible = node === document.body || getComputedStyle(node).outlineStyle !== "none";
  return [node.innerText || node.ariaLabel || node.id, isVisible];
}"""
SCRIPTS = Path(__file__).parent
NAMELESS = (SCRIPTS / "nameless.js").read_text()


@pytest.mark.parametrize("width", [1280, 360])
def test_every_control_has_a_name_and_ids_are_unique(open_page: Open, width: int) -> None:
    page = open_page(width=width)
    ask(page, "tool")
    ask(page, "markdown")
    for view in ("#monitor", "#chat"):
        page.goto(page.url.partition("#")[0] + view)
        expect(page.locator(view)).to_be_visible()
        assert page.evaluate(NAMELESS) == []
    button(page, "Settings").click()
    assert page.evaluate(NAMELESS) == []
    ids: list[str] = page.evaluate("[...document.querySelectorAll('[id]')].map((node) => node.id)")
    assert sorted(ids) == sorted(set(ids))
    named = """[...document.querySelectorAll("[aria-controls], label[for]")]
      .map((node) => node.htmlFor ?? node.getAttribute("aria-controls"))"""
    assert set(page.evaluate(named)) <= set(ids)


CONTRAST = (SCRIPTS / "contrast.js").read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(open_page: Open, scheme: str) -> None:
    page = open_page(scheme=scheme)
    ask(page, "fail")
    ask(page, "markdown").get_by_text("Evidence").click()
    button(page, "Settings").click()
    assert page.evaluate(CONTRAST) == []
    page.goto(page.url.partition("#")[0] + "#monitor")
    expect(page.locator(".overall")).to_be_visible()
    assert page.evaluate(CONTRAST) == []


@pytest.mark.parametrize("view", ["", "#monitor"])
@pytest.mark.parametrize("locale", ["en-US", "tr-TR"])
def test_a_phone_needs_no_sideways_scrolling(open_page: Open, server: Double, view: str, locale: str) -> None:
    server.status["models"][0]["name"] = "a-very-long-model-name-" * 5
    page = open_page(view, width=360, height=640, locale=locale)
    if not view:
        for text in ("markdown", "hello " + "W" * 500, "hostile"):
            page.locator("#question").fill(text)
            page.keyboard.press("Enter")
            finished(page)
        page.locator(".proof summary").last.click()
    else:
        expect(page.locator(".card")).to_have_count(6)
    for opener in (None, "#open-options", "#open-conversations"):
        if opener:
            page.locator(opener).click()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), opener


def test_light_and_dark(open_page: Open) -> None:
    page = open_page(scheme="dark")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    dark = page.evaluate(ground)
    button(page, "Settings").click()
    page.get_by_label("Appearance").select_option("light")
    light = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == light
    button(page, "Settings").click()
    page.get_by_label("Appearance").select_option("system")
    assert page.evaluate(ground) == dark


def test_nothing_moves_for_who_wants_it_so(open_page: Open) -> None:
    page = open_page(motion="no-preference")
    page.get_by_label("Message", exact=True).fill("slow")
    page.keyboard.press("Enter")
    expect(page.locator("article.assistant .live")).to_be_visible()
    moving = "document.getAnimations({subtree: true}).length"
    assert page.evaluate(moving) > 0
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(moving) == 0
