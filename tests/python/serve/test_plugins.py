"""Plugins of a server: found after a restart, called by the model, judging, exporting, and failing alone."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from flyball.store import Example, Project, Store
from flyball.store.question import as_json
from tests.python.plugins.conftest import EXAMPLES, serving, tool, weather_url, write_plugin

from .conftest import WAIT, Running, Start
from .scripted_model import write_scripted_model

__all__ = ["weather_url"]  # a fixture

# What the model writes follows from the last character of what a user said; after a tool's result it ends.
TEMPLATE = (
    "{% if tools %}<|turn|>tools\n{{ tools | tojson }}\n{% endif %}"
    "{% for m in messages %}<|turn|>{{ m.role }}\n"
    "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}{{ m.content }}"
    "{% for call in m.tool_calls or [] %}{{ '\n' }}<tool_call>\n"
    '{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}\n</tool_call>'
    "{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n"
    "{% set last = messages | selectattr('role', 'equalto', 'user') | list | last %}"
    "{% if messages[-1].role == 'tool' and last.content[-1] != 'e' %}:{% else %}{{ last.content[-1] }}{% endif %}"
    "{% endif %}"
)


def calling(name: str, arguments: str = "{}", more: str = "") -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>{more}'


SCRIPTS = {
    "w": ["Let me see. ", calling("weather", '{"city": "Paris"}')],
    "n": [calling("weather", '{"city": "Nowhere"}')],
    "b": ["Both. ", calling("look", '{"at": 1}', "\n"), calling("weather", '{"city":  "Paris"}')],
    "e": ["Again. ", calling("weather", '{"city": "Paris" }')],
    "x": [calling("crash")],
    "s": [calling("spin")],
    ":": ["One, ", "two, ", "three."],
}
LOOK = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
GUARDIAN = """
@hookimpl
def flyball_judge(answer, host):
    return Verdict('three' in answer.text, f'{answer.question}/{answer.stop_reason}')
"""
EXPORTER = """
import json
@hookimpl
def flyball_export(answers, host):
    rows = [[each.id, each.digest, each.text, each.question] for each in answers]
    host.fetch(host.config['to'], body=json.dumps(rows).encode())
"""
LEARNER = """
import json
@hookimpl
def flyball_learn(examples, host):
    host.fetch(host.config['to'], body=json.dumps([each.answer for each in examples]).encode())
"""


class Sink(BaseHTTPRequestHandler):
    """Keeps what is posted."""

    got: ClassVar[list[Any]] = []

    def do_POST(self) -> None:
        self.got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def sink() -> Iterator[str]:
    Sink.got.clear()
    yield from serving(ThreadingHTTPServer(("127.0.0.1", 0), Sink))


def crashing(name: str, body: str) -> tuple[str, str]:
    return tool(body), f'[[tools]]\nname = "{name}"\ndescription = "Does it."\n'


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages with plugins."""
    site = tmp_path_factory.mktemp("site")
    for suffix in ("py", "toml"):
        (site / f"weather_plugin.{suffix}").write_bytes((EXAMPLES / f"weather.{suffix}").read_bytes())
    body, declared = crashing("crash", "import os\nos._exit(1)")
    write_plugin(site, "crasher", body, tools=declared)
    body, declared = crashing("spin", "while True: pass")
    write_plugin(site, "spinner", body, tools=declared, permissions="seconds = 3")
    write_plugin(site, "three", GUARDIAN, ("guardian",))
    for name, body, kind in (("shipper", EXPORTER, "exporter"), ("pupil", LEARNER, "learner")):
        write_plugin(site, name, body, (kind,), 'seconds = 5\n[config]\nto = ""')
    return site


@pytest.fixture(scope="module")
def install(site: Path) -> None:
    """As pip does it: the entry points of a distribution."""
    about = site / "flyball_tests-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: flyball-tests\nVersion: 1.0\n")
    names = {"weather": "weather_plugin", **{n: n for n in ("crasher", "spinner", "three", "shipper", "pupil")}}
    points = "".join(f"{name} = {module}\n" for name, module in names.items())
    (about / "entry_points.txt").write_text(f"[flyball.plugins]\n{points}")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scripted_model(tmp_path_factory.mktemp("models") / "caller.gguf", TEMPLATE, SCRIPTS)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def store_of(home: Path) -> Path:
    return home / "store.sqlite"


def flyball(home: Path, *words: str) -> str:
    """What `flyball plugins` writes."""
    command = [sys.executable, "-m", "flyball", "plugins", *words, "--set", f"serve.store={store_of(home)}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=home)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def served(start: Start, site: Path, install: None, model: Path, home: Path, weather_url: str, sink: str) -> Running:
    """A server with plugins, all of which the default project allows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(site))
        patch.setenv("HOME", str(home))
        urls = [f"--value={name}={weather_url}" for name in ("geocoding", "forecast")]
        flyball(home, "allow", "weather", "--host", weather_url, *urls)
        for name in ("crasher", "spinner", "three"):
            flyball(home, "allow", name)
        for name in ("shipper", "pupil"):
            flyball(home, "allow", name, "--host", sink, f"--value=to={sink}/{name}")
        return start(model, "--set", f"serve.store={store_of(home)}", home=home)


def ask(served: Running, said: str, **members: Any) -> Any:
    body = {"messages": [{"role": "user", "content": said}], "seed": 7, "plugins": ["weather"]} | members
    return served.post("/v1/chat/completions", {each: value for each, value in body.items() if value is not None})


RESULT = '{"place": "Paris, France", "time": "2026-12-01T10:00", "celsius": 7.5, "wind_km_h": 11.2, "sky": "rain"}'


def test_a_plugin_is_found_after_a_restart(
    start: Start, tmp_path: Path, site: Path, model: Path, home: Path, served: Running
) -> None:
    before = start(model, "--set", f"serve.store={store_of(home)}", home=tmp_path)  # without it in its path
    refused = ask(before, "w")
    assert refused.status_code == 403
    assert "not installed" in refused.json()["error"]["message"]
    assert before.stop() == 0
    assert any("weather" in line and "kept in" in line for line in served_words(served))
    assert ask(served, "w").status_code == 200


def served_words(served: Running) -> list[str]:
    """What the server said at its start; its line about plugins comes after the addresses."""
    assert served.process.stdout is not None
    while not any(line.startswith("Ctrl-C") for line in served.said):
        served.said.append(served.process.stdout.readline())
    return served.said


def test_the_model_calls_a_plugin(served: Running) -> None:
    said = ask(served, "w", verbose=True)
    whole = said.json()
    (choice,) = whole["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Let me see.\n\nOne, two, three."}
    assert choice["finish_reason"] == "stop"
    told = whole["flyball"]
    (call,) = told["plugins"]["calls"]
    assert {name: call[name] for name in ("plugin", "tool", "arguments", "step")} == {
        "plugin": "weather", "tool": "weather", "arguments": {"city": "Paris"}, "step": 0,
    }  # fmt: skip
    assert call["result_sha256"] == hashlib.sha256(RESULT.encode()).hexdigest()
    assert call["ms"] > 0
    turns = told["plugins"]["messages"]
    assert [turn["role"] for turn in turns] == ["assistant", "tool"]
    assert turns[1]["content"] == RESULT
    assert [step["receipt"] for step in told["steps"]][-1] == told["receipt"]
    assert said.headers["flyball-digest"] == told["steps"][-1]["digest"]
    assert whole["usage"]["completion_tokens"] == 3 + 4
    for step in told["steps"]:
        assert served.post("/v1/verify", {"id": step["receipt"]}).json()["verified"] is True


def test_whoever_sends_the_turns_again_gets_the_same_prompt(served: Running) -> None:
    """A client without plugins, with the turns that it was told: the second step's question is the same."""
    told = ask(served, "w").json()["flyball"]
    user = {"role": "user", "content": "w"}
    again = ask(served, "w", plugins=None, messages=[user, *told["plugins"]["messages"]], tools=declared()).json()
    assert again["flyball"]["digest"] == told["steps"][1]["digest"]


def declared() -> list[Any]:
    """The tool as the server gave it to the model."""
    (tool,) = tomllib.loads((EXAMPLES / "weather.toml").read_text())["tools"]
    return [{"type": "function", "function": {name: tool[name] for name in ("name", "description", "parameters")}}]


def events(served: Running, body: Mapping[str, Any]) -> list[Any]:
    with served.client() as client, client.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.status_code == 200, response.read()
        lines = [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_a_stream_is_the_same_answer(served: Running) -> None:
    body = {"messages": [{"role": "user", "content": "w"}], "seed": 7, "plugins": ["weather", "three"], "stream": True}
    chunks = events(served, body | {"stream_options": {"include_usage": True}})
    choices = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
    assert "".join(each["delta"].get("content") or "" for each in choices) == "Let me see.\n\nOne, two, three."
    assert not any("tool_calls" in each["delta"] for each in choices)
    assert choices[-1]["finish_reason"] == "stop"
    whole = ask(served, "w", plugins=["weather", "three"]).json()
    assert chunks[-1]["usage"] | {"prompt_tokens_details": 0} == whole["usage"] | {"prompt_tokens_details": 0}
    told = chunks[-1]["flyball"]
    assert [step["digest"] for step in told["steps"]] == [step["digest"] for step in whole["flyball"]["steps"]]
    assert told["plugins"]["messages"] == whole["flyball"]["plugins"]["messages"]
    assert told["plugins"]["verdicts"][0]["ok"] is True


@pytest.mark.parametrize("stream", [False, True])
def test_a_clients_call_goes_to_the_client(served: Running, stream: bool) -> None:
    members = {"tools": [LOOK], "seed": 7, "plugins": ["weather"], "messages": [{"role": "user", "content": "b"}]}
    if stream:
        chunks = events(served, members | {"stream": True})
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
        calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
        assert {call["index"] for call in calls} == {0}
        named, told = [call["function"]["name"] for call in calls if "id" in call], chunks[-1]["flyball"]
        reason = chunks[-1]["choices"][0]["finish_reason"]
    else:
        whole = served.post("/v1/chat/completions", members).json()
        (choice,) = whole["choices"]
        named = [call["function"]["name"] for call in choice["message"]["tool_calls"]]
        reason, told = choice["finish_reason"], whole["flyball"]
    assert named == ["look"]
    assert reason == "tool_calls"
    assert [call["tool"] for call in told["plugins"]["calls"]] == ["weather"]
    assert told["plugins"]["messages"][1]["content"] == RESULT
    assert len(told["steps"]) == 1


def test_rounds_have_an_end(served: Running) -> None:
    """The last answer gets no tools of plugins, and one that calls them all the same calls in vain."""
    for rounds, n in ((None, 4), (2, 2), (6, 6)):
        whole = ask(served, "e", plugin_rounds=rounds, tools=[LOOK]).json()
        told = whole["flyball"]
        assert len(told["steps"]) == n
        calls = told["plugins"]["calls"]
        assert ["error" in call for call in calls] == [False] * (n - 1) + [True]
        assert "the most" in calls[-1]["error"]
        assert whole["choices"][0]["message"]["content"] == "\n\n".join(["Again."] * n)
        assert whole["choices"][0]["finish_reason"] == "stop"
    whole = ask(served, "e", plugin_rounds=2, verbose=True).json()
    assert len(whole["flyball"]["plugins"]["calls"]) == 1
    assert "<tool_call>" in whole["choices"][0]["message"]["content"]  # without tools there are no calls: it is text


def test_what_a_plugin_says_is_no_failure(served: Running, home: Path) -> None:
    for _ in range(4):
        (call,) = ask(served, "n").json()["flyball"]["plugins"]["calls"]
        assert call["error"] == "there is no place called Nowhere"
    assert state(home, "weather") == "allowed"


def state(home: Path, name: str, project: str = "default") -> str:
    with Store.open(store_of(home)) as store:
        row = store.project(project).plugins.get(name)
        assert row is not None
        return row.state


def test_a_crash_costs_a_message_and_the_third_is_the_last(served: Running, home: Path) -> None:
    for _ in range(3):
        whole = ask(served, "x", plugins=["crasher"]).json()
        (call,) = whole["flyball"]["plugins"]["calls"]
        assert call["error"] == "ended with code 1"
        assert whole["choices"][0]["message"]["content"] == "One, two, three."
    until(lambda: state(home, "crasher") == "quarantined")
    refused = ask(served, "x", plugins=["crasher"])
    assert refused.status_code == 503
    assert "quarantine" in refused.json()["error"]["message"]
    assert flyball_list(home)["crasher"]["state"] == "quarantined"
    lines = Path(next(home.rglob("journal-*.jsonl"))).read_text()
    for reason in ("PLUGIN_CALLED", "PLUGIN_FAILED", "PLUGIN_QUARANTINED"):
        assert reason in lines
    assert "Paris" not in lines  # what was asked stays out of the journal


def flyball_list(home: Path) -> dict[str, Any]:
    return {each["name"]: each for each in json.loads(flyball(home, "list", "--json"))["plugins"]}


def until(holds: Any) -> None:
    for _ in range(WAIT * 10):
        if holds():
            return
        time.sleep(0.1)
    raise AssertionError("it never held")


def test_others_are_answered_while_a_plugin_hangs(served: Running) -> None:
    said: list[Any] = []
    hanging = threading.Thread(target=lambda: said.append(ask(served, "s", plugins=["spinner"]).json()))
    hanging.start()
    time.sleep(0.5)
    times = []
    while hanging.is_alive():
        began = time.monotonic()
        assert ask(served, "w", plugins=None).status_code == 200
        times.append(time.monotonic() - began)
    assert len(times) > 3
    assert sorted(times)[len(times) // 2] < 1
    (call,) = said[0]["flyball"]["plugins"]["calls"]
    assert "took longer than 3 seconds" in call["error"]


def test_guardians_judge_and_are_recorded(served: Running, home: Path) -> None:
    for said, is_good in (("w", True), ("b", False)):
        whole = ask(served, said, plugins=["weather", "three"], tools=[LOOK]).json()
        (verdict,) = whole["flyball"]["plugins"]["verdicts"]
        assert (verdict["ok"], verdict["reason"], verdict["recorded"]) == (is_good, f"{said}/eos", True)
        with Store.open(store_of(home)) as store:
            (given,) = store.project().feedback.of_answer(whole["flyball"]["digest"])
        assert (given.source, given.voter) == ("guardian", "plugin:three")
        assert given.rating == ("good" if is_good else "bad")


def test_exporters_get_figures_and_no_text(served: Running) -> None:
    told = ask(served, "w").json()["flyball"]
    until(lambda: told["steps"][1]["receipt"] in exported())
    for step in told["steps"]:
        assert exported()[step["receipt"]] == [step["receipt"], step["digest"], None, None]


def exported() -> dict[str, Any]:
    """What the exporter has sent, by the answers' ids."""
    return {row[0]: row for got in Sink.got for row in got if isinstance(row, list)}


def test_learners_get_newly_approved_examples(served: Running, home: Path) -> None:
    time.sleep(12)  # it begins with what comes after its first look
    with Store.open(store_of(home)) as store:
        project: Project = store.project()
        project.examples.propose(Example(id="", kind="correction", question=as_json("What?"), answer="That."))
        (row,) = project.examples.all(("proposed",))
        project.examples.change(row.id, row.version, by="reviewer", state="approved")
    until(lambda: ["That."] in Sink.got)


ROUTES = """
fallback = "other"
[intents.other]
models = ["one"]
examples = ["a", "b", "c", "d", "e"]
[intents.rain]
models = ["two"]
floor = 0.99
examples = ["does it rain", "rain today", "is it raining", "umbrella", "wet"]
"""
ROUTER = """
@hookimpl
def flyball_propose_route(question, host):
    if question.text == 'crash w':
        1 / 0
    return None if 'none' in question.text else Proposal('snow' if 'snow' in question.text else 'rain', 'r')
"""


def test_a_router_proposes_an_intent(
    start: Start, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plugin(tmp_path / "dev", "guide", ROUTER, ("router",))
    (tmp_path / "routes.toml").write_text(ROUTES)
    monkeypatch.setenv("HOME", str(tmp_path))
    words = ("--dev-plugins", str(tmp_path / "dev"))
    flyball(tmp_path, "allow", "guide", *words)
    settings = (f"serve.store={store_of(tmp_path)}", f"serve.routes={tmp_path / 'routes.toml'}")
    sets = [word for each in settings for word in ("--set", each)]
    running = start(f"one={model}", f"two={model}", *words, *sets, home=tmp_path)
    for said, led, told in (
        ("xyz w", "two", {"intent": "rain", "reason": "r"}),
        ("none w", "one", {}),
        ("snow w", "one", {"error": "proposed 'snow', which is no intent here"}),
        ("crash w", "one", {"error": "ZeroDivisionError: division by zero"}),
    ):
        whole = ask(running, said, model="auto", plugins=["guide"]).json()
        assert whole["model"] == led
        route = whole["flyball"]["plugins"]["route"]
        assert {name: value for name, value in route.items() if name not in ("plugin", "sha256")} == told
    named = ask(running, "xyz w", model="one", plugins=["guide"]).json()
    assert (named["model"], "route" in named["flyball"]["plugins"]) == ("one", False)


def test_a_project_decides_for_itself(start: Start, site: Path, model: Path, tmp_path: Path, served: Running) -> None:
    path = tmp_path / "two.sqlite"
    with Store.open(path) as store:
        keys = {"ada": store.project().keys.create("ada"), "eve": store.create_project("other").keys.create("eve")}
        plugin = json.loads(flyball_show(site, tmp_path))
        store.project().plugins.allow("weather", plugin["sha256"], {}, {}, "ada")
        store.project().plugins.allow("three", "0" * 64, {}, {}, "ada")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(site))
        running = start(model, "--set", f"serve.store={path}", home=tmp_path)
    ada, eve = (replace(running, headers={"authorization": f"Bearer {keys[name].secret}"}) for name in ("ada", "eve"))
    (call,) = ask(ada, "w").json()["flyball"]["plugins"]["calls"]
    assert "not fetched" in call["error"]  # a host that cannot be reached from here
    refused, unknown = ask(eve, "w"), ask(eve, "w", plugins=["nobody"])
    assert (refused.status_code, unknown.status_code) == (403, 403)
    assert refused.json()["error"]["code"] == "plugin_refused"
    texts = [each.json()["error"]["message"] for each in (refused, unknown)]
    assert texts[0] == texts[1].replace("nobody", "weather")
    changed = ask(ada, "w", plugins=["three"])
    assert changed.status_code == 403
    assert "has changed since it was allowed" in changed.json()["error"]["message"]


def flyball_show(site: Path, home: Path) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(site))
        patch.setenv("HOME", str(home))
        return flyball(home, "show", "weather", "--json")


@pytest.mark.parametrize(
    ("members", "status", "word"),
    [
        ({"plugins": "weather"}, 400, "plugins: must be a list"),
        ({"plugins": [1]}, 400, "plugins: must be a list of at most"),
        ({"plugins": ["weather"] * 9}, 400, "plugins: must be a list of at most"),
        ({"plugins": ["\0"]}, 403, "has not allowed it"),
        ({"plugins": ["../weather"]}, 403, "has not allowed it"),
        ({"plugins": ["shipper"]}, 400, "no tools, and is no guardian"),
        ({"plugin_rounds": 1}, 400, "plugin_rounds: is 1"),
        ({"plugin_rounds": 17}, 400, "plugin_rounds: is 17"),
        ({"n": 2}, 400, "n: must be 1"),
        ({"tools": [{"type": "function", "function": {"name": "weather"}}]}, 400, "is a tool of a plugin"),
    ],
)
def test_wrong_wishes_are_refused(served: Running, members: dict[str, Any], status: int, word: str) -> None:
    said = ask(served, "w", **members)
    assert (said.status_code, word in said.json()["error"]["message"]) == (status, True), said.text


def test_what_cannot_be_repeated_is_not_resumed(served: Running) -> None:
    for header in ("Idempotency-Key", "Last-Event-ID"):
        with served.client() as client:
            body = {"messages": [{"role": "user", "content": "w"}], "plugins": ["weather"]}
            said = client.post("/v1/chat/completions", json=body, headers={header: "a"})
        assert (said.status_code, said.json()["error"]["code"]) == (400, "not_resumable")


def test_a_folder_is_for_development(start: Start, model: Path, tmp_path: Path, weather_url: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path))
        words = ("--dev-plugins", str(EXAMPLES))
        urls = [f"--value={name}={weather_url}" for name in ("geocoding", "forecast")]
        flyball(tmp_path, "allow", "weather", "--host", weather_url, *urls, *words)
    running = start(model, "--set", f"serve.store={store_of(tmp_path)}", *words, home=tmp_path)
    (call,) = ask(running, "w").json()["flyball"]["plugins"]["calls"]
    assert call["result_sha256"] == hashlib.sha256(RESULT.encode()).hexdigest()
    command = [sys.executable, "-m", "flyball", "serve", str(model), "--host", "0.0.0.0", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"FLYBALL_API_KEY": "k" * 20})
    assert done.returncode == 2
    assert "for development alone" in done.stderr


def test_a_store_is_needed(start: Start, model: Path, site: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(site))
        running = start(model, "--set", "serve.store=none")
    assert ask(running, "w").status_code == 501
    assert ask(running, "w", plugins=None).status_code == 200


def test_a_killed_server_leaves_no_process(start: Start, model: Path, tmp_path: Path) -> None:
    write_plugin(tmp_path / "dev", "mild", crashing("crash", "return 'fine'")[0], tools=crashing("crash", "")[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path))
        patch.setenv("TMPDIR", str(tmp_path))  # tells its processes from others'
        words = ("--dev-plugins", str(tmp_path / "dev"))
        flyball(tmp_path, "allow", "mild", *words)
        running = start(model, "--set", f"serve.store={store_of(tmp_path)}", *words, home=tmp_path)
    assert "error" not in ask(running, "x", plugins=["mild"]).json()["flyball"]["plugins"]["calls"][0]
    assert processes_of(f"{tmp_path}/flyball-plugin-")
    running.stop(signal.SIGKILL)
    until(lambda: not processes_of(f"{tmp_path}/flyball-plugin-"))


def processes_of(text: str) -> list[Path]:
    """Running processes with this text in their command."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if text.encode() in each.read_bytes():
                found.append(each)
    return found
