"""Examples for people who label."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.python.serve.page.test_reach import CONTRAST, NAMELESS
from tests.python.serve.page.user import Open, button
from tests.python.serve.page_server import Double, example


def shown(page: Page) -> str:
    return page.locator(".label .words").first.inner_text()


def opened(open_page: Open, server: Double, n: int = 3, **how: object) -> Page:
    server.examples = [example(number) for number in range(1, n + 1)]
    page = open_page("#labels", **how)
    expect(page.locator(".label")).to_be_visible()
    return page


def test_wrong_and_right_differ_in_marked_words(open_page: Open, server: Double) -> None:
    page = opened(open_page, server)
    expect(page.locator(".label del")).to_have_text("27,")
    expect(page.locator(".label ins")).to_have_text("28,")
    expect(page.locator(".label")).to_contain_text("correction, by local")
    expect(button(page, "Proposed (3)")).to_have_attribute("aria-pressed", "true")


def test_keys_move_and_decide(open_page: Open, server: Double) -> None:
    page = opened(open_page, server)
    page.keyboard.press("j")
    assert "Question 2" in shown(page)
    page.keyboard.press("k")
    page.keyboard.press("a")
    expect(page.locator(".label")).to_contain_text("Question 2")
    page.keyboard.press("r")
    expect(page.locator(".label")).to_contain_text("Question 3")
    page.keyboard.press("h")
    expect(page.locator("#labels")).to_contain_text("There are no examples here.")
    assert [each["state"] for each in server.changes] == ["approved", "rejected", "held_out"]
    expect(page.get_by_role("status")).to_have_text("It is now: Held out.")
    button(page, "Approved (1)").click()
    expect(page.locator(".label")).to_contain_text("Question 1")


def test_the_right_answer_is_edited(open_page: Open, server: Double) -> None:
    page = opened(open_page, server, 1)
    page.keyboard.press("e")
    area = page.get_by_role("textbox", name="Right")
    expect(area).to_be_focused()
    page.keyboard.type("j")  # is text there, no command
    area.fill("28")
    button(page, "Save the right answer").click()
    expect(page.locator(".label ins")).to_contain_text("28")
    assert server.changes == [{"version": 1, "answer": "28"}]
    page.keyboard.press("e")
    page.keyboard.press("Escape")
    expect(page.locator(".label form")).to_have_count(0)


def test_two_who_label_lose_nothing(open_page: Open, server: Double) -> None:
    page = opened(open_page, server, 1)
    page.keyboard.press("e")
    page.get_by_role("textbox", name="Right").fill("mine")
    server.examples[0] |= {"answer": "theirs", "version": 2}
    button(page, "Save the right answer").click()
    expect(page.locator(".label")).to_contain_text("Somebody else changed this example meanwhile.")
    expect(page.locator(".label")).to_contain_text("theirs")
    expect(page.locator(".label")).to_contain_text("mine")
    assert server.examples[0]["answer"] == "theirs"
    page.keyboard.press("e")
    expect(page.get_by_role("textbox", name="Right")).to_have_value("mine")
    button(page, "Save the right answer").click()
    expect(page.get_by_role("status")).to_have_text("The right answer is saved.")
    assert server.changes == [{"version": 2, "answer": "mine"}]


def test_a_text_survives_a_server_that_does_not_answer(open_page: Open, server: Double) -> None:
    page = opened(open_page, server, 1)
    page.keyboard.press("e")
    page.get_by_role("textbox", name="Right").fill("mine")
    server.answering = False
    button(page, "Save the right answer").click()
    expect(page.locator("#labels .trouble")).to_be_visible()
    expect(page.locator(".label")).to_contain_text("mine")


def test_hostile_text_is_text(open_page: Open, server: Double) -> None:
    hostile = '<img src=x onerror="window.hacked = 1"><script>window.hacked = 2</script>'
    messages = [{"role": "tool", "content": hostile}]
    server.examples = [example(1, answer=hostile + " a", rejected=hostile + " b", reason=hostile, messages=messages)]
    page = open_page("#labels")
    expect(page.locator(".label")).to_contain_text("onerror")
    assert page.evaluate("window.hacked") is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_legible_and_named_on_a_phone(open_page: Open, server: Double, scheme: str) -> None:
    page = opened(open_page, server, width=360, height=640, scheme=scheme, locale="tr-TR")
    expect(page.locator("h1").last).to_have_text("Örnekler")
    assert page.evaluate(CONTRAST) == []
    assert page.evaluate(NAMELESS) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
