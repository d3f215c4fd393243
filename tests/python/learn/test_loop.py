"""The whole loop on the bundled model: mistakes, corrections, an adapter that proves itself, and one that does not.

Asked in Turkish, the model takes "eksi" (minus) for plus: 48 real mistakes, of which 24 are corrected by people and
24 are held out.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from flyball.store import Store
from tests.python.serve.conftest import WAIT, Running, Start
from tests.python.serve.conftest import start as start  # the fixture
from tests.python.serve.page.conftest import Windows
from tests.python.serve.page.conftest import browser as browser  # the fixture
from tests.python.serve.page.user import ask, button

N = 24  # questions that are corrected, and as many that are held out
CHAT = "/v1/chat/completions"


@dataclass
class Place:
    """A server that gives each answer with the project's active adapter, and the home of its user."""

    server: Running
    home: Path

    def ask(self, question: str, **members: Any) -> dict[str, Any]:
        body = {"messages": messages(question), "temperature": 0, "max_tokens": 60, "seed": 1} | members
        said = self.server.post(CHAT, body)
        assert said.status_code == 200, said.text
        answer: dict[str, Any] = said.json()
        return answer

    def text(self, question: str, **members: Any) -> str:
        return str(self.ask(question, **members)["choices"][0]["message"]["content"]).strip()

    def flyball(self, *words: str | Path, code: int | None = 0) -> Any:
        """What a command of that user says, as JSON. `code` None: any exit code."""
        environment = os.environ | {"HOME": str(self.home), "XDG_STATE_HOME": "", "XDG_CONFIG_HOME": ""}
        done = subprocess.run(
            [sys.executable, "-m", "flyball", *map(str, words), "--json"],
            env=environment, cwd=self.home, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert code is None or done.returncode == code, done.stderr
        return json.loads(done.stdout)

    def write(self, name: str, rows: list[dict[str, Any]]) -> Path:
        path = self.home / name
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return path

    def until(self, digest: str | None) -> None:
        """Until new answers have this adapter."""
        end = time.monotonic() + WAIT
        while self.ask("Hello")["flyball"]["adapter"] != digest:
            assert time.monotonic() < end
            time.sleep(0.1)


def messages(question: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}]


@pytest.fixture(scope="module")
def place(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Place:
    home = tmp_path_factory.mktemp("loop")
    return Place(start("--ctx", "256", home=home), home)


def minus(rng: random.Random, n: int) -> dict[str, str]:
    """Questions with their right answers."""
    found: dict[str, str] = {}
    while len(found) < n:
        a, b = rng.randint(3, 31), rng.randint(2, 30)
        if a > b:
            found[f"{a} eksi {b} kaç eder?"] = f"{a} - {b} = {a - b}."
    return found


def plain_sums(n: int) -> list[str]:
    """Questions whose answers are to stay, other ones than anybody corrects."""
    rng = random.Random(7)
    return list(dict.fromkeys(f"What is {rng.randint(2, 30)} + {rng.randint(2, 30)}?" for _ in range(2 * n)))[:n]


def right(place: Place, questions: dict[str, str]) -> int:
    return sum(place.text(question) == answer for question, answer in questions.items())


def test_corrections_become_an_adapter_and_poison_does_not(place: Place, browser: Browser) -> None:
    both = minus(random.Random(1), 2 * N)
    corrected, held_out = dict(list(both.items())[:N]), dict(list(both.items())[N:])
    stay = plain_sums(70)
    before = {question: place.ask(question)["flyball"]["digest"] for question in (*held_out, *stay)}
    kept = {question: place.text(question) for question in stay}
    stays = [{"id": question, "messages": messages(question), "answer": text} for question, text in kept.items()]
    assert right(place, both) <= 2

    correct(place, corrected, browser)
    decide(place, corrected, held_out)
    own = place.write("stays.jsonl", stays)
    assert "are needed" in cycle(place, own, "--least", "25")["message"]
    first = cycle(place, own, code=2)  # safety prompts whose changed answers a person has to read
    adapter, judged = first["adapter"], place.flyball("adapters", "show", first["adapter"])["events"][-1]["evidence"]
    reviewed = [word for id in judged["evidence"]["changed"] for word in ("--reviewed", id)]
    swapped_under_load(place, adapter, next(iter(held_out.items())), lambda: cycle(place, own, *reviewed))
    assert "nothing new" in cycle(place, own)["message"]

    n_right = right(place, held_out)
    n_kept = right(place, kept)
    print(f"held out: {n_right} of {N} right; {n_kept} of {len(kept)} others as before; {judged['message']}")
    assert n_right >= N // 2
    assert n_kept >= 0.95 * len(kept)
    for question, digest_before in list(before.items())[::6]:
        again = place.ask(question, adapter=None)
        assert again["flyball"]["digest"] == digest_before, "without an adapter no bit has changed"

    poisoned(place, adapter, reviewed, own)
    verified(place)
    assert place.flyball("adapters", "rollback", adapter, "--why", "a test")["state"] == "rolled_back"
    told = place.flyball("learn", "report")
    assert [each["reason"] for each in told["adapters"]][-1] == "ADAPTER_ROLLED_BACK"
    assert told["feedback"]["bad"] == 2 * N
    place.until(None)
    assert right(place, held_out) <= 2


def correct(place: Place, questions: dict[str, str], browser: Browser) -> None:
    """Half of them on the page, half on the command line."""
    windows = Windows(browser, f"{place.server.url}/", strict=True)
    page = windows.open()
    button(page, "Settings").click()
    for label, value in (("Temperature", "0"), ("Most tokens", "60"), ("Seed", "1")):
        page.get_by_label(label).fill(value)
    button(page, "Settings").click()
    for number, (question, answer) in enumerate(questions.items()):
        if number % 2:
            correct_on_page(page, question, answer, place.text(question))
        else:
            said = place.ask(question)
            words = ("--correction", answer, "--question", question, "--source", "chat")
            wrong = said["choices"][0]["message"]["content"]
            place.flyball("feedback", "add", said["flyball"]["digest"], "--rating", "bad", *words, "--answer", wrong)
    page.context.close()
    assert windows.complaints == []


def correct_on_page(page: Page, question: str, answer: str, wrong: str) -> None:
    """Ask in a conversation of its own, and do with the wrong answer what a user does."""
    button(page, "New conversation").click()
    said = ask(page, question)
    expect(said.locator(".text")).to_have_text(wrong)
    button(said, "Bad").click()
    expect(button(said, "Bad")).to_have_attribute("aria-pressed", "true")
    button(said, "Correct").click()
    page.get_by_role("textbox", name="Correct").fill(answer)
    button(page, "Save correction").click()
    corrected = page.locator("article.assistant").last
    expect(corrected).to_contain_text("Corrected by you")
    expect(corrected.locator(".text")).to_have_text(answer)


def decide(place: Place, corrected: dict[str, str], held_out: dict[str, str]) -> None:
    """A person approves what was corrected, and gives more questions to test with."""
    with Store.open(place.home / ".local/state/flyball/serve/store.sqlite") as store:
        proposed = list(store.project().examples.all(["proposed"]))
    assert len(proposed) == len(corrected)
    place.flyball("feedback", "approve", *(each.id for each in proposed))
    for question, answer in held_out.items():
        said = place.ask(question)
        about = {"id": said["id"], "messages": messages(question), "rating": "bad", "correction": answer}
        assert place.server.post("/v1/feedback", about).status_code == 200
    with Store.open(place.home / ".local/state/flyball/serve/store.sqlite") as store:
        proposed = list(store.project().examples.all(["proposed"]))
    place.flyball("feedback", "hold-out", *(each.id for each in proposed))


def cycle(place: Place, stays: Path, *words: str, code: int = 0) -> Any:
    """A round of learning."""
    return place.flyball("learn", "cycle", "--stays", stays, "--kept", "0.9", "--share", "0", *words, code=code)


def swapped_under_load(place: Place, digest: str, case: tuple[str, str], promote: Callable[[], dict[str, Any]]) -> None:
    """The adapter comes into use while eight streams run: none breaks, and each has one of two digests."""
    question, answer = case
    ends = threading.Event()
    found: set[tuple[str | None, str]] = set()

    def stream() -> None:
        body = {"messages": messages(question), "temperature": 0, "max_tokens": 60, "seed": 1, "stream": True}
        with place.server.client() as client:
            while not ends.is_set():
                with client.stream("POST", CHAT, json=body) as said:
                    last = [line for line in said.iter_lines() if line.startswith("data: {")][-1]
                proof = json.loads(last.removeprefix("data: "))["flyball"]
                found.add((proof["adapter"], proof["digest"]))

    def until_seen(adapter: str | None) -> None:
        end = time.monotonic() + WAIT
        while adapter not in {seen for seen, _ in list(found)}:
            assert time.monotonic() < end
            time.sleep(0.1)

    with ThreadPoolExecutor(8) as pool:
        streams = [pool.submit(stream) for _ in range(8)]
        try:
            until_seen(None)
            assert promote()["state"] == "pass"
            until_seen(digest)
        finally:
            ends.set()
        for each in streams:
            each.result(WAIT)
    assert {adapter for adapter, _ in found} == {None, digest}
    assert len(found) == 2
    assert place.text(question) == answer


def poisoned(place: Place, active: str, reviewed: list[str], stays: Path) -> None:
    """Bad corrections of one user: plain sums become nonsense. The gate stops what comes of them."""
    rows = [
        {"id": f"p{n}", "messages": messages(question), "answer": "Ask somebody else.", "kind": "correction"}
        for n, question in enumerate(plain_sums(140)[70 : 70 + N])
    ]
    data = place.write("poison.jsonl", rows)
    trained = place.flyball("train", "--data", data, "--replay", "0", "--steps", "40")
    place.flyball("adapters", "add", trained["folder"], "--name", "poison")
    (held_out,) = place.home.glob(".local/state/flyball/learn/default/*/held_out.jsonl")
    words: tuple[str | Path, ...] = (
        "--held-out",
        held_out,
        "--stays",
        stays,
        "--max-tokens",
        "40",
        "--kept",
        "0.9",
        *reviewed,
    )
    judged = place.flyball("adapters", "gate", "poison", *words, code=1)
    print(f"poison: {judged['verdict']['reason_id']}: {judged['verdict']['message']}")
    assert judged["state"] == "rejected"
    assert judged["verdict"]["reason_id"] in ("ADAPTER_FORGETS", "ADAPTER_WORSE", "ADAPTER_UNSAFE")
    assert place.ask("Hello")["flyball"]["adapter"] == active


def verified(place: Place) -> None:
    """Answers with and without the adapter verify, each with its own."""
    for question in ("9 eksi 4 kaç eder?", "What is 2 + 3?"):
        for members in ({}, {"adapter": None}):
            said = place.ask(question, **members)
            checked = place.server.post("/v1/verify", {"id": said["flyball"]["receipt"]})
            assert checked.json()["verified"] is True
