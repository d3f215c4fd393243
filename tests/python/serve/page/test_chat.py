"""Asking, stopping, editing, asking again; what the browser keeps."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.python.serve.page.user import Open, ask, button, finished
from tests.python.serve.page_server import Double


def test_an_answer_streams_and_can_be_stopped(open_page: Open, server: Double) -> None:
    page = open_page()
    page.get_by_label("Message", exact=True).fill("slow question")
    button(page, "Send").click()
    answer = page.locator("article.assistant")
    expect(answer.locator(".text")).to_have_text("First words")
    expect(answer).to_have_attribute("aria-busy", "true")
    button(page, "Stop").click()
    expect(answer).to_contain_text("Stopped. What had arrived is kept.")
    expect(answer.locator(".text")).to_have_text("First words")
    assert server.left.wait(10), "the page has to hang up, so that the server stops computing"
    expect(button(page, "Send")).to_be_visible()


def test_the_end_of_an_answer_is_announced(open_page: Open) -> None:
    page = open_page()
    answer = ask(page, "hello there")
    expect(answer.locator(".text")).to_have_text("Answer to: hello there")
    expect(page.get_by_role("status")).to_have_text("The answer is complete. Tokens: 3.")


def test_the_whole_branch_is_sent_with_the_settings(open_page: Open, server: Double) -> None:
    page = open_page()
    button(page, "Settings").click()
    page.get_by_label("Model").select_option("other")
    page.get_by_label("System prompt").fill("Be brief.")
    for name, value in {"Temperature": "0,5", "Top-p": "0.9", "Top-k": "40", "Seed": "7", "Most tokens": "64"}.items():
        page.get_by_label(name).fill(value)
    ask(page, "one")
    ask(page, "two")
    assert server.asked[-1] == {
        "model": "other", "temperature": 0.5, "top_p": 0.9, "top_k": 40, "seed": 7, "max_tokens": 64,
        "stream": True, "stream_options": {"include_usage": True},
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "Answer to: one"},
            {"role": "user", "content": "two"},
        ],
    }  # fmt: skip


def test_empty_settings_are_not_sent(open_page: Open, server: Double) -> None:
    ask(open_page(), "one")
    assert set(server.asked[0]) == {"model", "messages", "stream", "stream_options"}


def test_a_wrong_setting_is_named_and_nothing_is_sent(open_page: Open, server: Double) -> None:
    page = open_page()
    button(page, "Settings").click()
    for name, value in {"Temperature": "hot", "Top-p": "1.5", "Top-k": "-1", "Seed": "0.5", "Most tokens": "0"}.items():
        field = page.get_by_label(name)
        field.fill(value)
        expect(field).to_have_attribute("aria-invalid", "true")
    page.get_by_label("Message", exact=True).fill("kept text")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Temperature")).to_be_focused()
    expect(page.get_by_label("Message", exact=True)).to_have_value("kept text")
    assert server.asked == []


def test_a_schema_is_checked_and_sent(open_page: Open, server: Double) -> None:
    page = open_page()
    button(page, "Settings").click()
    field = page.get_by_label("JSON schema of the answer")
    field.fill('{"type": ')
    expect(field).to_have_accessible_description(re.compile("This is not JSON"))
    field.fill("[1]")
    expect(field).to_have_accessible_description(re.compile("A schema is a JSON object"))
    field.fill('{"type": "object"}')
    expect(field).not_to_have_attribute("aria-invalid", "true")
    answer = ask(page, "json please")
    expect(answer).to_contain_text('{"name": "Watt"}')
    schema = {"name": "answer", "schema": {"type": "object"}, "strict": True}
    assert server.asked[0]["response_format"] == {"type": "json_schema", "json_schema": schema}


def test_thoughts_are_folded_and_shown_live(open_page: Open, server: Double) -> None:
    page = open_page()
    page.get_by_label("Message", exact=True).fill("think about it")
    page.keyboard.press("Enter")
    answer = page.locator("article.assistant")
    expect(answer.get_by_text("Thinking …")).to_be_visible()
    expect(answer.locator(".thoughts")).to_be_hidden()
    answer.get_by_text("Thinking …").click()
    expect(answer.locator(".thoughts")).to_have_text("Balls rise ")
    server.release.set()
    finished(page)
    expect(answer.locator(".thoughts")).to_have_text("Balls rise when it spins.")
    expect(answer.locator("summary").first).to_contain_text("Thought for")
    expect(answer.locator(".body > .text")).to_have_text("They rise.")
    ask(page, "next")
    assert [m["content"] for m in server.asked[-1]["messages"]] == ["think about it", "They rise.", "next"]


def test_a_tool_call_is_shown(open_page: Open) -> None:
    answer = ask(open_page(), "tool")
    expect(answer.locator("figure")).to_contain_text("look")
    expect(answer.locator("figure code")).to_have_text('{"at": 1}')


def test_asking_again_and_editing_keep_every_version(open_page: Open, server: Double) -> None:
    page = open_page()
    ask(page, "first")
    ask(page, "second")
    question = page.locator("article.user").first
    button(question, "Edit").click()
    page.get_by_role("textbox", name="Edit").fill("changed")
    page.get_by_role("textbox", name="Edit").press("Control+Enter")
    expect(page.locator("#messages article")).to_have_count(2)
    answer = finished(page)
    expect(answer).to_contain_text("Answer to: changed")
    assert [m["content"] for m in server.asked[-1]["messages"]] == ["changed"]
    button(answer, "Ask again").click()
    expect(answer).to_contain_text("2 of 2")
    finished(page)
    button(answer, "Previous version").click()
    expect(answer).to_contain_text("1 of 2")
    button(question, "Previous version").click()
    expect(page.locator("#messages article")).to_have_count(4)
    expect(page.locator("article.user").last).to_contain_text("second")
    button(page.locator("article.user").last, "Ask again").click()
    expect(page.locator("article.assistant").last).to_contain_text("2 of 2")
    finished(page)
    assert [m["content"] for m in server.asked[-1]["messages"]] == ["first", "Answer to: first", "second"]


def test_an_edit_can_be_given_up(open_page: Open) -> None:
    page = open_page()
    ask(page, "first")
    button(page.locator("article.user"), "Edit").click()
    page.get_by_role("textbox", name="Edit").fill("other")
    page.keyboard.press("Escape")
    expect(page.locator("article.user .text")).to_have_text("first")
    expect(button(page.locator("article.user"), "Edit")).to_be_focused()


def test_conversations_are_kept_and_deleted(open_page: Open) -> None:
    page = open_page()
    ask(page, "about springs")
    button(page, "New conversation").click()
    expect(page.locator("#messages article")).to_have_count(0)
    ask(page, "about balls")
    page.reload()
    expect(page.locator("article.user .text")).to_have_text("about balls")
    button(page, "about springs").click()
    expect(page.locator("article.user .text")).to_have_text("about springs")
    page.once("dialog", lambda dialog: dialog.dismiss())
    button(page, "Delete “about springs”").click()
    expect(page.locator("#conversation-list li")).to_have_count(2)
    page.once("dialog", lambda dialog: dialog.accept())
    button(page, "Delete “about springs”").click()
    expect(page.locator("#conversation-list li")).to_have_count(1)
    page.once("dialog", lambda dialog: dialog.accept())
    button(page, "Delete all").click()
    expect(page.locator("#conversation-list li")).to_have_count(0)
    assert page.evaluate("Object.keys(localStorage).filter((key) => key.includes('conversation'))") == []


def test_what_is_kept_is_bounded(open_page: Open) -> None:
    page = open_page()
    kept = """async () => {
      const c = await import(new URL("page/conversations.js", document.baseURI));
      for (let n = 0; n < 60; n += 1) {
        const one = c.create();
        c.add(one, {role: "user", text: `${n} ` + "x".repeat(100_000)});
        if (!c.save(one)) throw new Error("not kept");
        one.changed = n;
        localStorage.setItem(`flyball.conversation.${one.id}`, JSON.stringify(one));
      }
      return c.all().map((one) => parseInt(one.nodes[0].text));
    }"""
    numbers = page.evaluate(kept)
    assert 20 < len(numbers) <= 30
    assert numbers == sorted(numbers, reverse=True), "the oldest make room"
    assert numbers[0] == 59


def test_what_is_kept_may_be_damaged(open_page: Open) -> None:
    page = open_page()
    for number, kept in enumerate(["{", "null", '{"id": "a", "nodes": 3}', '{"nodes": []}', '"text"']):
        page.evaluate(
            "([number, kept]) => localStorage.setItem(`flyball.conversation.${number}`, kept)", [number, kept]
        )
    page.evaluate("localStorage.setItem('flyball.options', '[1')")
    page.evaluate("localStorage.setItem('flyball.language', '7')")
    page.reload()
    expect(ask(page, "hello")).to_contain_text("Answer to: hello")


def test_an_answer_that_a_reload_cut_off_is_told(open_page: Open, server: Double) -> None:
    page = open_page()
    page.get_by_label("Message", exact=True).fill("slow one")
    page.keyboard.press("Enter")
    expect(page.locator("article.assistant .text")).to_have_text("First words")
    page.reload()
    expect(page.locator("article.assistant")).to_contain_text("The connection broke before the answer was complete")
    expect(page.locator("article.assistant .text")).to_have_text("First words")
