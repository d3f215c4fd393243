"""English and Turkish."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.python.serve.page.user import Open, ask, button, finished
from tests.python.serve.page_server import PAGE, Double

SAME = {"escape", "model", "spark"}  # names that are equal in both languages


def words(page: Page) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = page.evaluate(
        "async () => (await import(new URL('page/words.js', document.baseURI))).WORDS"
    )
    return found


def test_both_languages_have_the_same_words(open_page: Open) -> None:
    english, turkish = words(open_page()).values()
    assert list(english) == list(turkish)
    values = {
        name: (set(re.findall(r"{\w+}", english[name])), set(re.findall(r"{\w+}", turkish[name]))) for name in english
    }
    assert [name for name, (first, second) in values.items() if first != second] == []
    assert {name for name in english if english[name] == turkish[name]} <= SAME
    assert [name for name in english if not english[name].strip() or not turkish[name].strip()] == []


def test_every_word_is_used_and_every_used_word_is_there(open_page: Open) -> None:
    english = words(open_page())["en"]
    sources = "\n".join(
        path.read_text()
        for path in PAGE.iterdir()
        if path.suffix in (".js", ".html") and path.name not in ("words.js", "turkish.js")
    )
    used = set(re.findall(r'"([a-z0-9_]+)"', sources))
    families = set(re.findall(r"`([a-z_]+_)\$\{", sources))
    assert [
        name for name in english if name not in used and not any(name.startswith(family) for family in families)
    ] == []
    asked = set(re.findall(r'word\("(\w+)"', sources)) | set(
        re.findall(r'data-(?:word|label|placeholder)="(\w+)"', sources)
    )
    assert asked <= set(english)


def test_turkish_leaves_no_english(open_page: Open, server: Double) -> None:
    page = open_page(locale="tr-TR")
    assert page.locator("html").get_attribute("lang") == "tr"
    english, turkish = words(page).values()
    server.status["decisions"] = []
    seen = ""
    for text in ("think", "fail", "hello"):
        page.locator("#question").fill(text)
        server.release.set()
        page.keyboard.press("Enter")
        finished(page)
    page.locator(".proof summary").last.click()
    page.get_by_role("button", name="Doğrula", exact=True).last.click()
    expect(page.locator(".verdict:visible")).to_contain_text("Doğrulandı")
    page.locator("#open-options").click()
    collect = """() => [...document.querySelectorAll("body *")].filter((n) => !n.matches("script, noscript *"))
      .flatMap((n) => [n.ariaLabel, n.placeholder, n.title, ...[...n.childNodes].map((c) => c.data)])
      .filter(Boolean).map((text) => text.trim())"""
    for view in ("#chat", "#monitor"):
        page.goto(server.url + view)
        if view == "#monitor":
            expect(page.locator(".card")).to_have_count(6)
        shown = set(page.evaluate(collect))
        seen += "\n".join(shown)
        assert shown & (set(english.values()) - set(turkish.values())) == set()
    assert "Yeniden sor" in seen
    assert "Saniyede token" in seen


def test_the_language_can_be_switched(open_page: Open, server: Double) -> None:
    page = open_page()
    ask(page, "hello")
    button(page, "Settings").click()
    page.get_by_label("Language").focus()
    page.get_by_label("Language").select_option("tr")
    expect(page.get_by_label("Dil", exact=True)).to_be_focused()
    expect(page.locator("article.assistant")).to_contain_text("Yeniden sor")
    assert page.locator("html").get_attribute("lang") == "tr"
    page.reload()
    expect(page.locator("#send")).to_have_text("Gönder")
    other = open_page(locale="de-DE")
    expect(other.locator("#send")).to_have_text("Send")


def test_switching_while_an_answer_streams_keeps_it(open_page: Open, server: Double) -> None:
    page = open_page()
    button(page, "Settings").click()
    page.get_by_label("Message", exact=True).fill("slow")
    page.keyboard.press("Enter")
    expect(page.locator("article.assistant .text")).to_have_text("First words")
    page.get_by_label("Language").select_option("tr")
    button(page, "Yeni konuşma").click()
    expect(page.locator("#messages article")).to_have_count(0)
    button(page, "slow").click()
    server.release.set()
    finished(page)
    expect(page.locator("article.assistant .text")).to_have_text("First words and the rest")
