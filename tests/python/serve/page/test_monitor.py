"""The live figures."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.python.serve.page.user import Open
from tests.python.serve.page_server import Double


def test_the_monitor_shows_live_figures(open_page: Open, server: Double) -> None:
    page = open_page("#monitor")
    monitor = page.locator("#monitor")
    for text in (
        "Ready",
        "182 ms",
        "611 ms",
        "41.7",
        "waiting: 1",
        "700 MiB",
        "of 1 GiB",
        "245K",
        "81.2M",
        "a change waits for its trial",
    ):
        expect(monitor).to_contain_text(text)
    expect(monitor.locator(".overall")).to_have_text("WATCHWorth watching: Queue in use.")
    rows = monitor.get_by_role("group", name="Limits").locator("tbody tr")
    assert [row.locator("td").last.inner_text() for row in rows.all()] == ["GO", "WATCH", "GO", "GO"]
    assert rows.nth(0).locator("td").all_inner_texts()[:2] == ["611 ms", "3,000 ms"]
    assert rows.nth(1).locator("td").all_inner_texts()[:2] == ["62.5%", "90%"]
    assert rows.nth(2).locator("td").all_inner_texts()[:2] == ["–", "60 s"]
    whose = [row.locator("th").inner_text().split("\n")[-1] for row in rows.all()]
    assert whose[:2] == ["the pilot’s limit of a turn", "this server’s own"]
    shapes = rows.locator("svg > *").evaluate_all("nodes => nodes.map(node => node.outerHTML)")
    assert shapes[0] == shapes[2] != shapes[1], "the state has to be told without color"
    server.status["tokens_per_second"]["decode"] = 55.5
    server.status["limits"][0]["state"] = "NO-GO"
    server.status["limits"][1]["state"] = "of a later version"
    expect(monitor).to_contain_text("55.5")
    expect(monitor.locator(".overall")).to_have_text("NO-GOExceeded: First token of 95 % of answers.")
    assert rows.nth(1).locator("td").last.inner_text() == "WATCH", "an unknown state is not a good one"
    expect(monitor.locator(".spark .line")).to_have_count(6)
    expect(monitor.get_by_role("img", name="Last two minutes: 41.7 to 55.5")).to_be_visible()


def test_the_monitor_explains_the_state(open_page: Open, server: Double) -> None:
    page = open_page("#monitor")
    for state, said in {"loading": "A model is being loaded.", "draining": "new questions are refused"}.items():
        server.status["state"] = state
        expect(page.locator("#monitor")).to_contain_text(said)


def test_the_monitor_takes_any_status(open_page: Open, server: Double) -> None:
    server.status = {"version": "9", "state": "new", "models": [], "first_token_ms": {"p50": None}}
    monitor = open_page("#monitor").locator("#monitor")
    expect(monitor).to_contain_text("Unknown")
    expect(monitor.locator(".figure").first).to_have_text("– ms")


def test_the_monitor_of_a_silent_server_says_what_to_do(open_page: Open, server: Double) -> None:
    page = open_page("#monitor")
    monitor = page.locator("#monitor")
    expect(monitor).to_contain_text("Ready")
    server.answering = False
    expect(monitor).to_contain_text("Check that “flyball serve” runs")
    expect(monitor).to_contain_text("The figures below are of")
    expect(monitor).to_contain_text("182 ms")
    server.answering = True
    expect(monitor).to_contain_text("Ready")
    expect(monitor).not_to_contain_text("The figures below are of")
