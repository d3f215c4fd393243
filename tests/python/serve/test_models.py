"""Models by name: loaded when they are asked for, with settings of their own, and let go again."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

import flyball
from flyball.config.configuration import named_models, resolve
from flyball.errors import InvalidArgument
from flyball.serve.failures import Failure
from flyball.serve.models import Entry, Models, file_name, files_in

from .conftest import Running, Start

DEMO = flyball.demo_model_path()


def entry(name: str, loads: list[str] | None = None, **how: Any) -> Entry:
    def load() -> flyball.Model:
        if loads is not None:
            loads.append(name)
        return flyball.Model.load(DEMO)

    return Entry(name, DEMO, load, **how)


def run(what: Any) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(120):
            return await what

    return asyncio.run(bounded())


def test_many_who_ask_at_once_wait_for_one_load() -> None:
    loads: list[str] = []

    async def ask() -> None:
        models = Models([entry("a", loads)])
        found = await asyncio.gather(*(models.get("a") for _ in range(10)))
        assert len({id(served) for served in found}) == 1

    run(ask())
    assert loads == ["a"]


def test_leaving_does_not_stop_a_load_for_others() -> None:
    may_load = threading.Event()

    def load() -> flyball.Model:
        assert may_load.wait(60)
        return flyball.Model.load(DEMO)

    async def ask() -> None:
        models = Models([Entry("a", DEMO, load)])
        leaves, stays = asyncio.create_task(models.get("a")), asyncio.create_task(models.get("a"))
        await asyncio.sleep(0)
        leaves.cancel()
        await asyncio.sleep(0)
        may_load.set()
        assert (await stays).name == "a"

    run(ask())


def test_the_one_not_used_for_the_longest_time_makes_room() -> None:
    async def ask() -> None:
        two = 2.5 * DEMO.stat().st_size
        models = Models([entry("a"), entry("b"), entry("c")], two)
        for name in ("a", "b", "a", "c"):
            await models.get(name)
        assert [served.name for served in models] == ["a", "c"]

    run(ask())


def test_making_room_waits_for_running_answers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who unloads a model must not itself hold it: each change once took the whole time that answers may take."""
    monkeypatch.setattr("flyball.serve.models._RELEASE_SECONDS", 1e9)

    async def ask() -> None:
        models = Models([entry("a"), entry("b"), entry("c")], 2.5 * DEMO.stat().st_size)
        for name in ("a", "b", "c"):
            await models.get(name)

    run(ask())


def test_models_that_are_named_to_stay_go_last() -> None:
    async def ask() -> None:
        models = Models([entry("a"), entry("b", keep_alive=5), entry("c", keep_alive=5)], 2.5 * DEMO.stat().st_size)
        for name in ("a", "b", "c"):
            await models.get(name)
        assert [served.name for served in models] == ["a", "c"]

    run(ask())


def test_a_model_larger_than_the_memory_is_refused() -> None:
    with pytest.raises(Failure, match="memory_mb") as caught:
        run(Models([entry("a")], 1000).get("a"))
    assert caught.value.status == 400


def test_idle_models_are_let_go() -> None:
    async def ask() -> None:
        models = Models([entry("a"), entry("b", keep_alive=0), entry("busy", keep_alive=0)])
        for name in ("a", "b", "busy"):
            await models.get(name)
        (await models.get("busy")).n_running = 1
        await models.unload_idle()
        assert [served.name for served in models] == ["a", "busy"]

    run(ask())


def test_an_answer_goes_on_while_its_model_is_let_go() -> None:
    async def ask() -> None:
        models = Models([entry("a")])
        model = (await models.get("a")).model
        expected = model.generate("Once", 60, seed=1).digest
        stream = model.astream("Once", 60, seed=1)
        await anext(stream)
        unloading = asyncio.create_task(models.unload("a"))
        async for _ in stream:
            pass
        assert stream.result.digest == expected
        del model, stream
        await unloading

    run(ask())


def test_a_broken_file_can_be_mended(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF" + b"\0" * 100)

    async def ask() -> None:
        models = Models([Entry("m", file, lambda: flyball.Model.load(file))])
        with pytest.raises(Failure) as caught:
            await models.get("m")
        assert caught.value.status == 400
        shutil.copy(DEMO, file)
        assert (await models.get("m")).name == "m"

    run(ask())


def test_names() -> None:
    assert file_name("/x/Qwen3-4B-Q4_K_M.gguf") == "Qwen3-4B-Q4_K_M"
    assert file_name("big-00001-of-00003.gguf") == "big"
    models = Models([entry("a", aliases=("gpt-4o", "b"))])
    for name in (None, "", "a", "b", "gpt-4o", "a:latest"):
        assert models.find(name).name == "a"
    with pytest.raises(Failure) as caught:
        models.find("A")
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")
    for twice in ([entry("a"), entry("a")], [entry("a"), entry("b", aliases=("a",))]):
        with pytest.raises(InvalidArgument, match="twice"):
            Models(twice)
    with pytest.raises(InvalidArgument, match="none to serve"):
        Models([])


def test_files_in(tmp_path: Path) -> None:
    for name in ("b.gguf", "a.gguf", "s-00001-of-00002.gguf", "s-00002-of-00002.gguf", "x.txt"):
        (tmp_path / name).touch()
    assert [file.name for file in files_in(tmp_path)] == ["a.gguf", "b.gguf", "s-00001-of-00002.gguf"]
    with pytest.raises(InvalidArgument):
        files_in(tmp_path / "none")


CONFIG = """
context = 256
models.small.context = 128
models.small.serve.aliases = "gpt-4o-mini"
models."qwen2.5".model = "{demo}"
models."qwen2.5".sampling.top_k = 7
"""


def test_settings_of_a_model(tmp_path: Path) -> None:
    file = tmp_path / "flyball.toml"
    file.write_text(CONFIG)
    assert named_models(file) == ["small", "qwen2.5"]
    assert resolve(file, environment={})["context"].value == 256
    small = resolve(file, environment={}, model="small")
    assert (small["context"].value, small["context"].origin) == (128, f"{file}:3")
    assert resolve(file, environment={"FLYBALL_CONTEXT": "64"}, model="small")["context"].value == 64
    assert resolve(file, {"context": "32"}, {}, model="small")["context"].value == 32
    assert resolve(file, environment={}, model="qwen2.5")["sampling.top_k"].value == 7


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("models.a.nothing = 1", "is not a configuration key"),
        ("models.a.context = -1", "must be an integer"),
        ("models.a = 1", "must be followed by"),
        ('models."a.b.context = 1', "must be followed by"),
        ('models."".context = 1', "must be followed by"),
        ("models. = 1", "must be followed by"),
        ("models.a.context 1", "must be: key = value"),
        ("models.a.serve.aliases = 1", "must be text in quotes"),
    ],
)
def test_bad_lines_of_models_are_named(tmp_path: Path, line: str, what: str) -> None:
    file = tmp_path / "flyball.toml"
    file.write_text(f"threads = 1\n{line}\n")
    with pytest.raises(InvalidArgument, match=what) as caught:
        resolve(file, environment={})
    assert f"{file}:2" in str(caught.value)


@pytest.fixture(scope="module")
def folder(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Running:
    """A server of a folder with models, none of which is loaded."""
    home = tmp_path_factory.mktemp("folder")
    models = home / "models"
    models.mkdir()
    for name in ("small", "large"):
        shutil.copy(DEMO, models / f"{name}.gguf")
    (models / "broken.gguf").write_bytes(b"GGUF")
    (home / "flyball.toml").write_text(CONFIG.format(demo=DEMO) + f'serve.models = "{models}"\n')
    return start(home=home)


def question(model: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "What is 2 + 3?"}], "max_tokens": 12, "seed": 1}


def test_models_of_a_folder(folder: Running) -> None:
    listed = {each["id"]: each for each in folder.get("/v1/models").json()["data"]}
    assert list(listed) == ["qwen2.5", "broken", "large", "small"]
    assert listed["small"]["aliases"] == ["gpt-4o-mini"]
    assert {each["status"]["value"] for each in listed.values()} == {"unloaded"}
    said = {name: folder.post("/v1/chat/completions", question(name)).json() for name in ("gpt-4o-mini", "large")}
    assert said["gpt-4o-mini"]["model"] == "small"
    assert said["gpt-4o-mini"]["choices"][0]["message"] == said["large"]["choices"][0]["message"]
    digests = {each["flyball"]["digest"] for each in said.values()}
    assert len(digests) == 2  # a digest covers the context, which differs
    listed = {each["id"]: each for each in folder.get("/v1/models").json()["data"]}
    assert (listed["small"]["max_model_len"], listed["large"]["max_model_len"]) == (128, 256)
    broken = folder.post("/v1/chat/completions", question("broken"))
    assert broken.status_code == 400
    assert folder.post("/v1/chat/completions", question("large")).status_code == 200
