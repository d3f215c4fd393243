"""Text of a model, a user or a server stays text, takes no time, and reaches no other host."""

from __future__ import annotations

import re

from playwright.sync_api import Request, expect

from tests.python.serve.page.user import Open, ask
from tests.python.serve.page_server import HOSTILE, PAGE, Double


def test_hostile_text_stays_text(open_page: Open) -> None:
    page = open_page()
    answer = ask(page, "hostile")
    shown = answer.locator(".body")
    expect(shown).to_contain_text("<script>window.hacked = 1</script>")
    assert [link.get_attribute("href") for link in shown.locator("a").all()] == ["https://example.com/a"]
    assert shown.locator("a").get_attribute("rel") == "noreferrer noopener"
    expect(shown).to_contain_text("fine (example.com)")
    assert shown.locator("script, img, iframe, b").count() == 0
    for text in ("press", "data", "//evil"):
        page.get_by_text(text).first.click()
    assert page.evaluate("window.hacked") is None
    assert page.url == page.url.partition("#")[0] + ("#chat" if "#" in page.url else "")


def test_hostile_text_of_the_user_and_the_server_stays_text(open_page: Open, server: Double) -> None:
    attack = "<img src=x onerror='window.hacked=1'>"
    server.status["decisions"] = [{"time": attack, "reason_id": attack, "sentence": attack, "receipt": attack}]
    server.status["limits"] = [{"name": attack, "value": attack, "limit": None, "state": attack}]
    server.status["models"] = [
        {"name": attack, "loaded": 1, "context": attack, "cache_type": attack, "fingerprint": attack}
    ]
    page = open_page()
    ask(page, HOSTILE)
    page.goto(server.url + "#monitor")
    expect(page.locator("#monitor")).to_contain_text(attack)
    assert page.locator("img:not([src='page/logo.svg'])").count() == 0
    assert page.evaluate("window.hacked") is None


def test_huge_text_does_not_hang_the_page(open_page: Open) -> None:
    page = open_page()
    answer = ask(page, "huge")
    expect(answer.locator("pre.plain")).to_have_count(1)
    expect(ask(page, "hello").locator(".text")).to_have_text("Answer to: hello")


RENDER = """async (text) => {
  const { show } = await import(new URL("page/markdown.js", document.baseURI));
  const target = document.createElement("div");
  for (let end = 1; end <= Math.min(text.length, 400); end += 1) show(target, text.slice(0, end));
  show(target, text);
  return target.innerHTML;
}"""


FORMATTED = {
    "a **b** *c* `d`": "<p>a <strong>b</strong> <em>c</em> <code>d</code></p>",
    "one\ntwo\n\nthree": "<p>one<br>two</p><p>three</p>",
    "# T\n## `c`": "<h3>T</h3><h4><code>c</code></h4>",
    "- a\n  - b\n- c": "<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>",
    "3. a\n\n4. b": '<ol start="3"><li>a</li><li>b</li></ol>',
    "- a\n\n1. b": "<ul><li>a</li></ul><ol><li>b</li></ol>",
    "> a\n> b": "<blockquote><p>a<br>b</p></blockquote>",
    "---": "<hr>",
    "2 * 3 * 4 ** 5": "<p>2 * 3 * 4 ** 5</p>",
    "**open `code": "<p>**open `code</p>",
    "\\*not\\*": "<p>*not*</p>",
    "a <b> & c": "<p>a &lt;b&gt; &amp; c</p>",
    "[a](ftp://x.example)": "<p>a</p>",
    "": "",
}


def test_markdown_is_the_same_in_pieces_and_at_once(open_page: Open) -> None:
    page = open_page()
    assert {text: page.evaluate(RENDER, text) for text in FORMATTED} == FORMATTED


def test_markdown_of_code_tables_and_links(open_page: Open) -> None:
    answer = ask(open_page(), "markdown")
    expect(answer.locator("figure code")).to_have_text('print("code <b>")')
    assert answer.locator("td").all_inner_texts() == ["ball", "rises"]
    links = [link.get_attribute("href") for link in answer.locator("a").all()]
    assert links == ["https://example.com/watt", "http://example.org/james"]


PIECES = [
    "*",
    "**",
    "[",
    "[](",
    "`",
    "``a",
    "- ",
    "> ",
    "|",
    "```\n",
    "#",
    "# #",
    "\\",
    "https://",
    "  - a\n",
    "1. ",
    "a\n\n",
    "|-",
]


def test_markdown_takes_no_time_over_hostile_repeats(open_page: Open) -> None:
    """Characters are formatted in linear time: a quadratic renderer takes minutes for one of these."""
    page = open_page()
    for piece in PIECES:
        page.evaluate(RENDER, (piece * 200_000)[:199_000])


def test_the_files_hold_nothing_inline_and_no_other_host() -> None:
    html = (PAGE / "index.html").read_text()
    assert not re.search(r"\son\w+=|\sstyle=|<style|javascript:", html)
    assert re.findall(r"<script[^>]*>(.*?)</script>", html, re.DOTALL) == [""]
    for path in PAGE.iterdir():
        text = path.read_text().replace("http://www.w3.org/", "")
        assert not re.search(r"https?://\w", text), path.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), (
            path.name
        )
        assert len(text.splitlines()) < 400


def test_the_page_stands_still_without_a_look(open_page: Open, server: Double) -> None:
    """The chat does not ask for the status again and again."""
    page = open_page()
    requests: list[str] = []

    def on_request(request: Request) -> None:
        requests.append(request.url)

    page.on("request", on_request)
    expect(page.locator("#composer-model")).to_contain_text("flyball-demo")
    page.wait_for_timeout(2500)
    page.remove_listener("request", on_request)
    assert [url for url in requests if url.endswith("status")] == []
