"""Receipts, verification, feedback; and what is said when something fails."""

from __future__ import annotations

import json

from playwright.sync_api import Locator, Page, expect

from tests.python.serve.page.user import Open, ask, button, finished
from tests.python.serve.page_server import Double


def evidence(page: Page) -> Locator:
    answer = ask(page, "hello")
    answer.get_by_text("Evidence").click()
    return answer.locator(".proof")


def test_an_answer_shows_its_receipt(open_page: Open) -> None:
    page = open_page()
    proof = evidence(page)
    for text in (
        "ab" * 32,
        "r1",
        "18446744073709551615",
        "flyball-demo",
        "12",
        "3",
        "its own end",
        "41.7 tokens/s · 81.2M cycles/token",
    ):
        expect(proof.locator("dd").get_by_text(text, exact=" · " not in text).first).to_be_visible()
    with page.expect_download() as download:
        button(proof, "Download receipt").click()
    assert download.value.suggested_filename == "receipt-r1.json"
    assert json.loads(download.value.path().read_text())["receipt"] == {"seed": 18446744073709551615}


def test_a_verified_answer(open_page: Open) -> None:
    proof = evidence(open_page())
    button(proof, "Verify").click()
    expect(proof.locator(".verdict")).to_contain_text("Verified. Positions compared: 3. All are equal, bit for bit.")


def test_a_mismatch_says_where(open_page: Open, server: Double) -> None:
    server.verdict = {
        "verified": False,
        "positions": 3,
        "difference": "logits",
        "position": 2,
        "message": "the logits differ",
        "digest": "0" * 64,
    }
    page = open_page()
    proof = evidence(page)
    button(proof, "Verify").click()
    where = "The first difference is at position 2 of the answer."
    verdict = f"Mismatch: this is not what the model computes. {where} the logits differ"
    expect(proof.locator(".verdict")).to_contain_text(verdict)
    expect(page.get_by_role("status")).to_have_text(verdict)


def test_only_true_is_verified(open_page: Open, server: Double) -> None:
    proof = evidence(open_page())
    for verdict in ({}, {"verified": "true"}, {"verified": None, "positions": 3}):
        server.verdict = verdict | {"message": str(verdict)}
        button(proof, "Verify").click()
        expect(proof.locator(".verdict")).to_contain_text(f"Mismatch: this is not what the model computes. {verdict}")


def test_a_server_that_does_not_answer_is_no_mismatch(open_page: Open, server: Double) -> None:
    proof = evidence(open_page())
    server.answering = False
    button(proof, "Verify").click()
    expect(proof.locator(".verdict")).to_contain_text("Not verified, and not refuted either.")


def test_ratings_and_corrections_reach_the_server(open_page: Open, server: Double) -> None:
    page = open_page()
    answer = ask(page, "hello")
    answer.get_by_text("Evidence").click()
    button(answer, "Good").click()
    expect(button(answer, "Good")).to_have_attribute("aria-pressed", "true")
    expect(button(answer, "Good")).to_be_focused()
    expect(button(answer, "Verify")).to_be_visible()
    button(answer, "Bad").click()
    expect(button(answer, "Bad")).to_have_attribute("aria-pressed", "true")
    button(answer, "Bad").click()
    expect(button(answer, "Bad")).to_have_attribute("aria-pressed", "false")
    button(answer, "Correct").click()
    page.get_by_role("textbox", name="Correct").fill("Better words")
    button(page, "Save correction").click()
    corrected = page.locator("article.assistant").last
    expect(corrected).to_contain_text("Corrected by you")
    expect(corrected.locator(".text")).to_have_text("Better words")
    said = [{name: each[name] for name in ("id", "rating", "correction")} for each in server.feedback]
    assert said == [
        {"id": "r1", "rating": "good", "correction": None},
        {"id": "r1", "rating": "bad", "correction": None},
        {"id": "r1", "rating": None, "correction": None},
        {"id": "r1", "rating": None, "correction": "Better words"},
    ]
    assert (
        server.feedback[-1] | {"messages": [{"role": "user", "content": "hello"}], "source": "page"}
        == (server.feedback[-1])
    )
    assert server.feedback[-1]["answer"] == "Answer to: hello"
    ask(page, "go on")
    assert [m["content"] for m in server.asked[-1]["messages"]] == ["hello", "Better words", "go on"]


def test_feedback_that_is_not_saved_is_told(open_page: Open, server: Double) -> None:
    page = open_page()
    answer = ask(page, "hello")
    server.answering = False
    button(answer, "Good").click()
    expect(answer).to_contain_text("Your judgment was not saved.")
    expect(button(answer, "Good")).to_have_attribute("aria-pressed", "false")


REFUSALS = {
    "busy": "as many questions as it takes. Wait a little, then ask again. It asks for 7 s.",
    "long": "Edit an earlier message, or begin a new conversation. Tokens: 5,000; the context has 4,096.",
    "wrong": "Change what it names, then ask again. It names the parameter “top_p”.",
    "fail": "The server failed at this question. Ask again",
    "loading": "The server is loading a model or shutting down.",
    "error": "The server failed at this question. Ask again",
}


def test_refusals_say_what_to_do(open_page: Open) -> None:
    page = open_page()
    for scene, said in REFUSALS.items():
        answer = ask(page, scene)
        expect(answer.locator(".trouble")).to_contain_text(said)
        expect(answer.locator(".trouble")).to_contain_text("The server says: ")
        expect(page.get_by_role("status")).to_contain_text(said)
        expect(button(answer, "Ask again")).to_be_visible()
        expect(answer.locator(".proof")).to_have_count(0)


def test_a_broken_stream_is_told_and_asked_again(open_page: Open) -> None:
    page = open_page()
    answer = ask(page, "flaky line")
    expect(answer).to_contain_text("The connection broke before the answer was complete.")
    expect(answer.locator(".text")).to_have_text("Half an")
    button(answer, "Ask again").click()
    expect(page.locator("article.assistant .text")).to_have_text("Answer to: flaky line")


def test_a_server_that_is_gone(open_page: Open, server: Double) -> None:
    page = open_page()
    expect(page.locator("#composer-model")).to_contain_text("flyball-demo")
    server.answering = False
    answer = ask(page, "hello")
    expect(answer).to_contain_text("The server does not answer.")
    server.answering = True
    button(answer, "Ask again").click()
    expect(page.locator("article.assistant .text")).to_have_text("Answer to: hello")
    expect(page.locator("article.assistant")).not_to_contain_text("of 2")


def test_the_key_is_asked_for_and_kept_for_the_tab(open_page: Open, server: Double) -> None:
    server.key = "sesame"
    page = open_page()
    field = page.get_by_label("API key")
    expect(field).to_be_focused()
    field.fill("wrong")
    page.keyboard.press("Enter")
    expect(field).to_have_value("")
    expect(field).to_be_visible()
    page.get_by_label("Message", exact=True).fill("hello")
    page.keyboard.press("Enter")
    expect(finished(page)).to_contain_text("The server refused the key.")
    field.fill("sesame")
    button(page, "Use key").click()
    expect(field).to_be_hidden()
    expect(page.locator("article.assistant .text")).to_have_text("Answer to: hello")
    page.reload()
    expect(page.locator("#composer-model")).to_contain_text("flyball-demo")
    expect(field).to_be_hidden()
    assert "sesame" not in json.dumps(page.evaluate("({...localStorage})"))
