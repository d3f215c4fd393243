"""Guardians of routes over HTTP: what they reject is feedback, after the answer; and what fails judges nothing."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import flyball
from flyball.cli import main
from flyball.constraints.constraint import Constraint
from flyball.errors import FormatError
from flyball.learn.guardians import VERDICTS, Guardian
from flyball.route.registry import load
from flyball.store import Feedback, Store
from flyball.store.question import plain
from tests.python.route.registries import short_registry

from .conftest import WAIT, Running, Start
from .scraping import scrape, value
from .test_batches import begin, client_of, ended

DEMO = flyball.demo_model_path()
SUM, PAST = "What is 2 + 3?", "Roma İmparatorluğu neden yıkıldı?"
SCHEMA = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
TABLES = """
[guardians.sums]
schema = "sums.json"

[guardians.brief]
must = "[0-9]"
must_not = "(?i)hundred"
most_characters = 20

[guardians.right]
judge = "big"
"""


@dataclass
class Place:
    server: Running
    store: Path

    def ask(self, text: str, said: str | list[str], **members: Any) -> dict[str, Any]:
        """A routed question whose answer is `said`."""
        choice = [said] if isinstance(said, str) else said
        body = {"model": "auto", "messages": [{"role": "user", "content": text}], "guided_choice": choice}
        answer = self.server.post("/v1/chat/completions", body | {"seed": 1} | members)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def judged(self, n: int) -> dict[tuple[str, str], float]:
        """How often each guardian said what, once that are at least so many."""
        end = time.monotonic() + WAIT
        while True:
            samples = scrape(self.server)
            found = {
                (dict(labels)["guardian"], dict(labels)["verdict"]): number
                for (name, labels), number in samples.items()
                if name == "flyball:guardian_verdicts_total"
            }
            if sum(found.values()) >= n:
                return found
            assert time.monotonic() < end, found
            time.sleep(0.05)

    def feedback(self, digest: str, n: int) -> dict[str, Feedback]:
        """What is said of an answer, by voter, once that are so many."""
        end = time.monotonic() + WAIT
        with Store.open(self.store) as store:
            while len(found := store.project().feedback.of_answer(digest)) < n:
                assert time.monotonic() < end, found
                time.sleep(0.05)
        return {each.voter: each for each in found}


@pytest.fixture(scope="module")
def place(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Place:
    home = tmp_path_factory.mktemp("guardians")
    rows = 'guardians = ["sums", "brief", "right"]\n'
    (home / "routes.toml").write_text(short_registry(0.6, rows=rows) + TABLES)
    (home / "sums.json").write_text(json.dumps(SCHEMA))
    server = start(f"small={DEMO}", f"big={DEMO}", "--set", "serve.routes=routes.toml", "--ctx", "512", home=home)
    return Place(server, home / ".local/state/flyball/serve/store.sqlite")


def judge(demo: flyball.Model, question: str, answer: str) -> tuple[str, str]:
    """What the bundled model says as a judge, of a model that does nothing else."""
    asked = Guardian("right", judge="big").asked(question, answer)
    prompt = demo.chat_format().ids([{"role": "user", "content": asked}], enable_thinking=False)
    constraint = demo.chat_format().constrained(Constraint.choice(list(VERDICTS)), prompt)
    result = demo.generate(prompt, 512, temperature=0, seed=0, constraint=constraint)
    return result.text, result.digest


def test_what_is_rejected_is_feedback_with_its_reason(
    place: Place, demo: flyball.Model, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sum(place.judged(0).values())
    wrong, right = "It is one hundred, I think, or more", '{"sum": 19}'
    said = place.ask(SUM, wrong)
    place.ask(SUM, right)
    place.judged(int(before) + 6)
    found = place.feedback(said["flyball"]["digest"], 2)
    for name, reason in (("sums", "is not JSON"), ("brief", "is longer than 20 characters")):
        given = found[f"guardian:{name}"]
        assert (given.source, given.rating, given.answer, given.model) == ("guardian", "bad", wrong, said["model"])
        assert given.request_id == said["flyball"]["receipt"]
        assert plain(str(given.question)) == SUM
        assert reason in str(given.reason)
    verdict, digest = judge(demo, SUM, wrong)
    assert ("guardian:right" in found) == (verdict == "reject")
    if verdict == "reject":
        assert found["guardian:right"].reason == f"big says so in answer {digest}"
    assert main(["feedback", "stats", "--json", "--set", f"serve.store={place.store}"]) == 0
    assert json.loads(capsys.readouterr().out)["sources"]["guardian"] >= 2
    journal = next(place.store.parent.glob("journal-*.jsonl"))
    end = time.monotonic() + WAIT
    while said["flyball"]["receipt"] not in (text := journal.read_text()) or "GUARDIAN_REJECTED" not in text:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_judge_says_what_its_model_says_alone(place: Place, demo: flyball.Model) -> None:
    before = place.judged(0)
    answers = ["5", "Roma", "19"]
    digests = [place.ask(SUM, each)["flyball"]["digest"] for each in answers]
    after = place.judged(int(sum(before.values())) + 9)
    verdicts = [judge(demo, SUM, each)[0] for each in answers]
    assert set(verdicts) == set(VERDICTS), "the model tells them apart"
    for verdict in VERDICTS:
        grown = after["right", verdict] - before.get(("right", verdict), 0)
        assert grown == verdicts.count(verdict)
    assert after["right", "undecided"] == before.get(("right", "undecided"), 0)
    for digest, verdict in zip(digests, verdicts, strict=True):
        found = place.feedback(digest, verdict == "reject")
        assert ("guardian:right" in found) == (verdict == "reject")


def test_only_answers_of_the_intent_are_looked_at(place: Place) -> None:
    before = sum(place.judged(0).values())
    place.ask(PAST, "No digits here")
    place.ask(SUM, "No digits here either", model="small")
    canceled = place.server.post("/v1/chat/completions", {"model": "auto", "messages": []})
    assert canceled.status_code == 400
    place.ask(SUM, "7")
    time.sleep(0.3)
    assert sum(place.judged(int(before) + 3).values()) == before + 3


def test_a_question_that_a_judge_cannot_hold_is_undecided(place: Place) -> None:
    before = place.judged(0)
    long = "What is 2 + 3? " * 20
    place.ask(long, "7", max_tokens=2)
    after = place.judged(int(sum(before.values())) + 3)
    assert after["right", "undecided"] + after["right", "accept"] + after["right", "reject"] >= 1
    assert after["brief", "accept"] == before.get(("brief", "accept"), 0) + 1


def test_lines_of_batches_are_looked_at_too(place: Place) -> None:
    body = {"model": "auto", "messages": [{"role": "user", "content": SUM}], "guided_choice": ["Sixteen"], "seed": 3}
    with client_of(place.server) as client:
        line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
        batch = ended(client, begin(client, [line]))
        assert batch.output_file_id is not None
        (text,) = client.files.content(batch.output_file_id).text.splitlines()
    digest = json.loads(text)["response"]["body"]["flyball"]["digest"]
    assert {"guardian:sums", "guardian:brief"} <= place.feedback(digest, 2).keys()


@pytest.mark.parametrize(
    ("tables", "rows", "what"),
    [
        ("[guardians.x]\n", "", r"guardians\.x has nothing to judge by; it needs one of schema"),
        ('[guardians.x]\nmust = "a"\njudge = "big"\n', "", "has judge and rule; it needs one of"),
        ('[guardians.x]\nmust = "("\n', "", r"guardians\.x\.must is '\(', must be a regular expression"),
        ('[guardians.x]\nmust_not = "(?!a)"\n', "", r"guardians\.x\.must_not"),
        ('[guardians.x]\nschema = "none.json"\n', "", r"guardians\.x\.schema .*none.json"),
        ('[guardians.x]\nschema = "broken.json"\n', "", "is not JSON"),
        ('[guardians.x]\nschema = "away.json"\n', "", "nothing is fetched"),
        ('[guardians.x]\nmost_characters = 0\n', "", "most_characters is 0, must be a number from 1"),
        ('[guardians.x]\nmust = "a"\nmuts_not = "b"\n', "", r"muts_not is unknown"),
        ('[guardians."a b"]\nmust = "a"\n', "", "needs a name of letters"),
        ("", 'guardians = ["x"]\n', r"intents\.math\.guardians has 'x', must be one of the guardians: none"),
    ],
)  # fmt: skip
def test_a_wrong_table_has_its_line(tmp_path: Path, tables: str, rows: str, what: str) -> None:
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "away.json").write_text('{"$ref": "http://127.0.0.1:9/x"}')
    (tmp_path / "routes.toml").write_text(short_registry(0.6, rows=rows) + tables)
    with pytest.raises(FormatError, match=what) as caught:
        load(tmp_path / "routes.toml")
    assert f"{tmp_path / 'routes.toml'}:" in str(caught.value)


def test_a_judge_must_be_served_and_a_schema_is_watched(tmp_path: Path) -> None:
    (tmp_path / "sums.json").write_text(json.dumps(SCHEMA))
    path = tmp_path / "routes.toml"
    path.write_text(short_registry(0.6, rows='guardians = ["right", "sums"]\n') + TABLES.replace("big", "third"))
    registry = load(path)
    registry.check(["small", "big", "third"])
    with pytest.raises(FormatError, match="judge 'third' is not served") as caught:
        registry.check(["small", "big"])
    assert path.read_text().splitlines()[int(str(caught.value).split(":")[1]) - 1] == 'judge = "third"'
    assert tmp_path / "sums.json" in registry.watched
    assert [each.name for each in registry.guardians_of("math")] == ["right", "sums"]
    assert registry.guardians_of("history") == registry.guardians_of("small") == []
    (tmp_path / "sums.json").write_text("{}")
    assert load(path).digest != registry.digest


def test_metrics_have_every_guardian(place: Place) -> None:
    samples = scrape(place.server)
    for name in ("sums", "brief", "right"):
        assert value(samples, "flyball:guardian_verdicts_total", guardian=name, verdict="skipped") == 0
