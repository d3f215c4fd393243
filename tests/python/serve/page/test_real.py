"""The page on a real server: what other tests have a double say, `flyball serve` says here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

import flyball
from tests.python.serve.conftest import Running, Start
from tests.python.serve.page.conftest import Windows
from tests.python.serve.page.user import ask, button
from tests.python.serve.scripted_model import THOUGHTS, write_scripted_model

QUESTION = "What is 2 + 3?"


@pytest.fixture(scope="module")
def real(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Running:
    """A server of two models, of which one thinks."""
    scripted = write_scripted_model(tmp_path_factory.mktemp("models") / "scripted.gguf")
    return start(f"flyball-demo={flyball.demo_model_path()}", f"scripted={scripted}")


@pytest.fixture
def page(browser: Browser, real: Running) -> Iterator[Page]:
    windows = Windows(browser, f"{real.url}/", strict=True)
    page = windows.open()
    yield page
    page.context.close()
    assert windows.complaints == []


def proof_of(answer: Locator) -> Locator:
    answer.get_by_text("Evidence").click()
    return answer.locator(".proof")


def test_an_answer_is_verified_and_judged(page: Page, real: Running) -> None:
    answer = ask(page, QUESTION)
    said = answer.locator(".text").inner_text()
    assert said
    proof = proof_of(answer)
    button(proof, "Verify").click()
    expect(proof.locator(".verdict")).to_contain_text(re.compile(r"Verified\. Positions compared: [1-9]\d*\."))
    with page.expect_download() as download:
        button(proof, "Download receipt").click()
    kept = json.loads(Path(download.value.path()).read_text())
    assert flyball.verify(kept["receipt"], isa="scalar", threads=1)
    expect(proof).to_contain_text(kept["receipt"]["digest"])
    assert real.post("/v1/verify", {"receipt": kept["receipt"]}).json()["verified"] is True
    button(answer, "Good").click()
    expect(page.get_by_role("status")).to_have_text("Your judgment is saved.")
    expect(button(answer, "Good")).to_have_attribute("aria-pressed", "true")


def test_a_seed_gives_the_answer_of_the_library(page: Page) -> None:
    button(page, "Settings").click()
    page.get_by_label("Model").select_option("flyball-demo")
    page.get_by_label("Seed").fill("1")
    page.get_by_label("Most tokens").fill("12")
    answer = ask(page, QUESTION)
    with flyball.Model.load(flyball.demo_model_path()) as model:
        chat = model.chat()
        result = chat.send(QUESTION, 12, seed=1)
    expect(answer.locator(".text")).to_have_text(chat.history[-1].content)
    expect(proof_of(answer)).to_contain_text(result.digest)


def test_thoughts_of_a_model_are_folded(page: Page) -> None:
    button(page, "Settings").click()
    page.get_by_label("Model").select_option("scripted")
    answer = ask(page, QUESTION)
    expect(answer.locator(".thoughts")).to_have_text(THOUGHTS)
    expect(answer).to_contain_text("weather")


def test_the_monitor_counts_the_answer(page: Page, real: Running) -> None:
    ask(page, QUESTION)
    counted = real.get("/v1/status").json()["requests"]["finished"]
    assert counted >= 1
    page.get_by_role("link", name="Monitor").click()
    monitor = page.locator("#monitor")
    expect(monitor).to_contain_text("Ready")
    expect(monitor).to_contain_text("flyball-demo")
    expect(monitor).to_contain_text(f"{counted}")
    expect(monitor.get_by_role("group", name="Limits").locator("tbody tr").first).to_be_visible()
