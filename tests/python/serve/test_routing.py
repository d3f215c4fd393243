"""Routes over HTTP: each request goes where the registry says, with the adapter that it names, and says so."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

import flyball
from flyball.cli import main
from flyball.engine.adapter import Adapter
from flyball.errors import FileError, FormatError, NotFound, OutOfMemory
from flyball.journal.events import Event
from flyball.journal.journal import read
from flyball.learn import folders
from flyball.learn.adapters import Registry
from flyball.route.breaker import FAILURES
from flyball.serve.failures import Failure
from flyball.serve.models import Entry, Models, Served
from flyball.serve.records import Records
from flyball.serve.routing import Routing, Wish
from flyball.store import Store
from tests.python.route.registries import short_registry
from tests.reference.demo_adapter import write_random

from .conftest import WAIT, Running, Start
from .test_adapters import folder_of

DEMO = flyball.demo_model_path()
CHAT = "/v1/chat/completions"
SUM, PAST, HELLO = "12 ile 7'nin toplamı kaçtır?", "Roma İmparatorluğu neden yıkıldı?", "Günaydın, iyi uyudun mu?"
SKY = "Fotosentez nedir, bitkiler neden yapar?"
UNCLEAR = "Zonguldak maden ocakları"


@dataclass
class Place:
    """A server with routes: sums have an adapter, two models share what is left."""

    server: Running
    home: Path
    digest: str

    @property
    def routes(self) -> Path:
        return self.home / "routes.toml"

    @property
    def store(self) -> Path:
        return self.home / ".local/state/flyball/serve/store.sqlite"

    def events(self, reason: str) -> list[Event]:
        return [event for event in read(self.home / "journal.jsonl") if event.reason_id == reason]

    def write(self, text: str) -> None:
        """In the place of the old one at once, as editors do."""
        new = self.home / "new.toml"
        new.write_text(text)
        new.replace(self.routes)


def text_of(digest: str) -> str:
    text = short_registry(0.6, more="cost = 0.01", rows=f'adapter = "{digest}"\n')
    return text + "[models.small]\ncapabilities = []\n"


@pytest.fixture(scope="module")
def place(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Place:
    home = tmp_path_factory.mktemp("routes")
    folder = folder_of(home, write_random(home / "sums.gguf", seed=4, gain=0.8))
    (home / "routes.toml").write_text(text_of(folder.name))
    store = home / ".local/state/flyball/serve/store.sqlite"
    store.parent.mkdir(parents=True, exist_ok=True)
    with Store.open(store) as opened:
        Registry(opened.project(), "ada").add(folder, folders.opened(folder), "sums")
    words = ("--set", "serve.routes=routes.toml", "--journal", str(home / "journal.jsonl"), "--ctx", "256")
    return Place(start(f"small={DEMO}", f"big={DEMO}", *words, home=home), home, folder.name)


def chat(place: Place, text: str, model: str | None = "auto", **more: Any) -> httpx.Response:
    members = {"messages": [{"role": "user", "content": text}], "max_tokens": 2, "seed": 1} | more
    return place.server.post(CHAT, members | ({"model": model} if model else {}))


def route(response: httpx.Response) -> dict[str, str]:
    assert response.status_code == 200, response.text
    return dict(word.split("=", 1) for word in response.headers["flyball-route"].split("; "))


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_each_text_goes_to_its_intent(place: Place) -> None:
    for text, intent in ((SUM, "math"), (PAST, "history"), (HELLO, "general_chat")):
        said = route(chat(place, text))
        assert (said["intent"], said["reason"]) == (intent, "ROUTE_INTENT")
    assert route(chat(place, PAST, model=None))["intent"] == "history"
    named = chat(place, PAST, model="big")
    assert "flyball-route" not in named.headers
    assert named.json()["model"] == "big"


def test_the_name_that_asks_for_routing_is_listed(place: Place, server: Running) -> None:
    listed = place.server.get("/v1/models").json()["data"]
    assert [each["id"] for each in listed] == ["small", "big", "auto"]
    assert listed[-1] == place.server.get("/v1/models/auto").json()
    assert listed[-1] == {
        "id": "auto", "object": "model", "created": int(place.routes.stat().st_mtime), "owned_by": "flyball",
        "aliases": [], "status": {"value": "loaded"},
    }  # fmt: skip
    tags = place.server.get("/api/tags").json()["models"]
    assert [each["name"] for each in tags] == ["small", "big", "auto"]
    assert tags[-1]["details"]["format"] == "routes"
    assert place.server.post("/api/show", {"model": "auto"}).status_code == 200
    with openai.OpenAI(base_url=f"{place.server.url}/v1", api_key="x") as client:
        assert client.models.retrieve("auto").id == "auto"
    assert "auto" not in [each["id"] for each in server.get("/v1/models").json()["data"]]
    assert server.get("/v1/models/auto").status_code == 404
    assert "auto" not in [each["name"] for each in server.get("/api/tags").json()["models"]]


def test_below_the_floor_the_fallback_answers(place: Place) -> None:
    said = route(chat(place, UNCLEAR))
    assert (said["intent"], said["reason"]) == ("general_chat", "ROUTE_BELOW_FLOOR")
    assert float(said["p"]) < 0.6


def test_the_adapter_of_a_route_is_the_one_that_answers(place: Place) -> None:
    response = chat(place, SUM)
    assert response.headers["flyball-adapter"] == place.digest
    receipt = place.server.get(f"/v1/receipts/{response.json()['flyball']['receipt']}").json()["receipt"]
    assert place.digest in json.dumps(receipt)
    assert chat(place, PAST).headers["flyball-adapter"] == "none"


@pytest.mark.parametrize(
    ("path", "members"),
    [
        ("/v1/completions", {"prompt": PAST, "max_tokens": 2}),
        ("/v1/responses", {"model": "auto", "input": PAST, "max_output_tokens": 16}),
        ("/v1/messages", {"model": "auto", "messages": [{"role": "user", "content": [{"type": "text", "text": PAST}]}],
                          "max_tokens": 2}),
        ("/completion", {"model": "auto", "prompt": PAST, "n_predict": 2}),
        ("/api/chat", {"model": "auto", "messages": [{"role": "user", "content": PAST}],
                       "options": {"num_predict": 2}}),
        ("/api/generate", {"model": "auto", "prompt": PAST, "options": {"num_predict": 2}}),
        (CHAT, {"messages": [{"role": "system", "content": SUM}, {"role": "user", "content": PAST}], "max_tokens": 2,
                "stream": True}),
    ],
)  # fmt: skip
def test_every_api_is_routed(place: Place, path: str, members: dict[str, Any]) -> None:
    assert route(place.server.post(path, members))["intent"] == "history"


def test_without_a_text_the_fallback_answers(place: Place) -> None:
    said = route(place.server.post("/completion", {"prompt": [1, 2, 3], "n_predict": 1}))
    assert (said["intent"], said["reason"]) == ("general_chat", "ROUTE_NO_TEXT")


@pytest.mark.parametrize(
    "messages",
    [
        [], [{}], [7], "text", {"a": 1}, None, [{"role": 3, "content": []}],
        [{"role": "user", "content": [{"text": 7}]}], [{"role": "user", "content": "\ud800"}],
    ],
)  # fmt: skip
def test_hostile_messages_are_told_by_the_api(place: Place, messages: object) -> None:
    response = place.server.post(CHAT, {"model": "auto", "messages": messages, "max_tokens": 1})
    assert response.status_code in (200, 400)


def test_tools_need_a_model_that_has_them(place: Place) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    assert route(chat(place, PAST, tools=[tool]))["model"] == "big"


def test_what_is_too_long_for_all_is_refused_by_the_last(place: Place) -> None:
    response = chat(place, PAST + " " + "ve bir daha " * 400)
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "no_route"
    assert "small: context, big: context" in response.json()["error"]["message"]


def test_a_repeated_request_goes_where_it_went(place: Place) -> None:
    headers = {"idempotency-key": "one"}
    members = {"model": "auto", "messages": [{"role": "user", "content": PAST}], "max_tokens": 2}
    with place.server.client() as client:
        first, again = (client.post(CHAT, json=members, headers=headers) for _ in range(2))
    assert route(again) == {"intent": "history", "model": route(first)["model"], "reason": "ROUTE_REPEATED"}
    assert again.json()["flyball"]["digest"] == first.json()["flyball"]["digest"]


def test_ratings_move_routes(place: Place) -> None:
    """Simple and complex requests, ten of each; one model is bad at what is complex. Its log says who got them."""
    answered: list[tuple[str, str]] = []
    for number in range(20):
        text, is_complex = (PAST, False) if number % 2 else (SKY, True)
        response = chat(place, text)
        model = route(response)["model"]
        rating = "bad" if is_complex and model == "small" else "good"
        rated = place.server.post("/v1/feedback", {"id": response.json()["flyball"]["receipt"], "rating": rating})
        assert rated.status_code == 200, rated.text
        answered.append((route(response)["intent"], model))
        time.sleep(0.25)  # what is recorded is read every two seconds
    complex_ones = [model for intent, model in answered if intent == "science"]
    assert complex_ones[-3:] == ["big"] * 3
    until(lambda: route(chat(place, SKY))["model"] == "big")
    told = [
        event.data["choice"]["model"]
        for event in place.events("ROUTE_INTENT")
        if event.data["choice"]["intent"] == "science"
    ]
    assert told[-1] == "big"


def test_a_correction_is_known_with_the_next_request(place: Place) -> None:
    text = UNCLEAR
    before = route(chat(place, text))
    with Store.open(place.store) as store:
        store.project().route_corrections.put(text, "science")
    after = route(chat(place, text))
    assert (before.get("intent"), after["intent"], after["reason"]) != ("science", "science", "ROUTE_INTENT")
    assert after["intent"] == "science"


def test_choices_are_in_the_journal_and_can_be_made_again(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    answer = chat(place, PAST).json()["flyball"]["receipt"]
    until(lambda: any(event.data["answer"] == answer for event in place.events("ROUTE_INTENT")))
    (event,) = [event for event in place.events("ROUTE_INTENT") if event.data["answer"] == answer]
    assert set(event.data["choice"]["scores"]) == {"small", "big"}
    assert event.data["question"]["floor"] == 0.6
    assert main(["route", "check", "--journal", str(place.home / "journal.jsonl")]) == 0
    assert capsys.readouterr().out.startswith("verified: ")


def test_registries_change_while_requests_run(place: Place) -> None:
    """Every answer goes by the old or by the new one, a bad one is told, and no request fails."""
    good = place.routes.read_text()
    n = len(place.events("ROUTE_REGISTRY_REFUSED"))
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(chat, place, PAST) for _ in range(12)]
        place.write("flor = 1\n" + good)
        until(lambda: len(place.events("ROUTE_REGISTRY_REFUSED")) > n)
        answers += [pool.submit(chat, place, PAST) for _ in range(4)]
        assert {route(answer.result())["intent"] for answer in answers} == {"history"}
    assert "routes.toml:1: flor is unknown" in place.events("ROUTE_REGISTRY_REFUSED")[-1].data["message"]
    place.write(good.replace("floor = 0.6", "floor = 1.0"))
    until(lambda: route(chat(place, PAST))["reason"] == "ROUTE_BELOW_FLOOR")
    place.write(good)
    until(lambda: route(chat(place, PAST))["reason"] == "ROUTE_INTENT")


class NoAdapters:
    """Files that are gone since the registry was read."""

    asked = 0

    async def of_route(self, served: Served, project: str, digest: str) -> Adapter:
        self.asked += 1
        raise NotFound(digest, "is gone")


def wish(text: str) -> Wish:
    return Wish("default", text, text)


def in_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: Models, use: Callable[[Routing], Awaitable[None]]
) -> NoAdapters:
    """Use a Routing whose adapters are gone."""
    monkeypatch.setattr("flyball.serve.plans.file_of", lambda digest: tmp_path)
    (tmp_path / "routes.toml").write_text(text_of("0" * 64))
    adapters = NoAdapters()

    async def run() -> None:
        routing = Routing(tmp_path / "routes.toml", models, Records(), adapters)  # type: ignore[arg-type]
        await routing.start()
        await use(routing)

    asyncio.run(run())
    return adapters


def test_routes_to_an_adapter_that_is_not_there_are_refused(tmp_path: Path) -> None:
    routes = tmp_path / "routes.toml"
    routes.write_text(text_of("0" * 64))
    models = Models([Entry(name, DEMO, lambda: flyball.Model.load(DEMO)) for name in ("small", "big")])
    routing = Routing(routes, models, Records(), NoAdapters())  # type: ignore[arg-type]
    said = rf"^{re.escape(str(routes))}:\d+: adapter 000000000000 is not there for model 'small'"
    with pytest.raises(FormatError, match=said):
        asyncio.run(routing.start())


def test_no_request_goes_to_an_adapter_that_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demo: flyball.Model
) -> None:
    """The fallback answers, never the model without its adapter; and a breaker stops the looking."""

    async def use(routing: Routing) -> None:
        for _ in range(20):
            served, routed = await routing.route(wish(SUM))
            assert (routed.choice.reason, routed.choice.intent) == ("ROUTE_MODELS_OUT", "general_chat")
            assert (served.name, routed.adapter) == ("small", None)
            assert set(routed.choice.left_out) == {"small", "big"}

    models = Models([Entry("small", DEMO, lambda: demo), Entry("big", DEMO, lambda: demo)])
    with pytest.warns(RuntimeWarning, match="is gone"):
        adapters = in_process(tmp_path, monkeypatch, models, use)
    assert adapters.asked == 2 * FAILURES


def test_a_model_that_cannot_be_loaded_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demo: flyball.Model
) -> None:
    loads = []

    def broken() -> flyball.Model:
        loads.append(1)
        raise FileError("small.gguf", "cannot be read")

    async def use(routing: Routing) -> None:
        for _ in range(10):
            served, routed = await routing.route(wish(PAST))
            assert (served.name, routed.choice.left_out.get("small")) in (("big", "adapter"), ("big", "health"))

    models = Models([Entry("small", DEMO, broken), Entry("big", DEMO, lambda: demo)])
    with pytest.warns(RuntimeWarning, match="cannot be read"):
        in_process(tmp_path, monkeypatch, models, use)
    assert len(loads) == FAILURES


def test_errors_of_answers_open_the_breaker_and_leaving_clients_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demo: flyball.Model
) -> None:
    async def use(routing: Routing) -> None:
        for error in (None, asyncio.CancelledError(), Failure(429, "busy"), Failure(503, "ends"), Failure(400, "bad")):
            for _ in range(FAILURES):
                _, routed = await routing.route(wish(PAST))
                assert routed.choice.model == "small"
                routed.ended(None, error)
        for _ in range(FAILURES):
            _, routed = await routing.route(wish(PAST))
            routed.ended(None, OutOfMemory("answer", "has no room"))
        _, routed = await routing.route(wish(PAST))
        assert (routed.choice.model, routed.choice.left_out) == ("big", {"small": "health"})

    models = Models([Entry("small", DEMO, lambda: demo), Entry("big", DEMO, lambda: demo)])
    in_process(tmp_path, monkeypatch, models, use)


def test_an_adapter_that_was_taken_back_is_routed_to_no_more(place: Place) -> None:
    with Store.open(place.store) as opened:
        Registry(opened.project(), "ada").promote("sums", force=True)
        Registry(opened.project(), "ada").rollback("sums", "it was wrong")
    response = chat(place, SUM)
    assert route(response)["intent"] == "general_chat"
    assert response.headers["flyball-adapter"] == "none"
