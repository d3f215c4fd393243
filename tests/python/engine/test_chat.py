"""Messages in and out of a Chat: given, edited, undone, saved, loaded, left out; what was said decides the answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import flyball
from flyball import Message

SHOTS = [
    {"role": "user", "content": "What is 2 + 3?"},
    {"role": "assistant", "content": "2 + 3 = 5."},
]
QUESTION = "What is 4 + 4?"
JOINED = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"


def ask(chat: flyball.Chat) -> str:
    return chat.send(QUESTION, 16, seed=3).digest


# ---------------------------------------------------------------- messages in and out


def test_given_examples_are_as_if_they_had_been_exchanged(demo: flyball.Model) -> None:
    said = demo.chat(system="Be brief.")
    answer = said.send("What is 2 + 3?", 24, temperature=0)
    given = demo.chat("Be brief.", messages=[Message("user", "What is 2 + 3?"), Message("assistant", answer.text)])
    whole = demo.chat(messages=[message.as_dict() for message in given.history])
    assert said.history == given.history == whole.history
    assert said.prompt(QUESTION) == given.prompt(QUESTION) == whole.prompt(QUESTION)
    assert ask(said) == ask(given) == ask(whole)


def test_receipts_of_edited_conversations_hold(demo: flyball.Model) -> None:
    chat = demo.chat(messages=SHOTS)
    chat.send("What is 1 + 1?", 12)
    chat.edit(1, "It is 5.")
    chat.undo()
    chat.system = "Count."
    result = chat.send(QUESTION, 12, seed=9)
    assert "It is 5." in demo.detokenize(result.prompt)
    assert flyball.verify(result.receipt, model=demo)


def test_a_stream_tells_its_prompt(demo: flyball.Model) -> None:
    chat = demo.chat(messages=SHOTS)
    wanted = chat.prompt(QUESTION)
    with chat.stream(QUESTION, 4) as stream:
        assert list(stream.prompt) == wanted


def test_messages_are_replaced(demo: flyball.Model) -> None:
    chat = demo.chat(system="Be brief.", messages=SHOTS)
    chat.edit(-1, "Five.")
    assert chat.history[2] == Message("assistant", "Five.")
    chat.history = [message for message in chat.history if message.role != "system"]
    assert chat.system is None
    chat.system = "Be long."
    assert [message.role for message in chat.history] == ["system", "user", "assistant"]
    chat.system = "Be kind."
    assert chat.system == "Be kind."
    assert [message.content for message in chat.history] == ["Be kind.", "What is 2 + 3?", "Five."]
    chat.system = None
    assert [message.content for message in chat.history] == ["What is 2 + 3?", "Five."]
    with pytest.raises(flyball.InvalidArgument, match="there are 2 messages"):
        chat.edit(2, "x")


def test_instructions_of_a_developer_stay_as_a_system_message_does(small: flyball.Model) -> None:
    chat = small.chat(template=JOINED, messages=[{"role": "developer", "content": "Be brief."}, *SHOTS])
    chat.reset()
    assert chat.system == "Be brief."
    chat.system = "Be kind."
    assert chat.history == (Message("developer", "Be kind."),)


def test_undo_takes_the_last_turn_back(demo: flyball.Model) -> None:
    chat = demo.chat(system="Be brief.", messages=SHOTS)
    fresh = ask(demo.chat(system="Be brief.", messages=SHOTS))
    chat.send("Who are you?", 8)
    assert [message.role for message in chat.undo()] == ["user", "assistant"]
    assert ask(chat) == fresh
    assert chat.undo()[0].content == QUESTION
    assert chat.undo() == tuple(map(Message.of, SHOTS))
    with pytest.raises(flyball.InvalidArgument, match="no user message"):
        chat.undo()
    assert chat.system == "Be brief."


def test_other_members_of_a_message_reach_the_template(small: flyball.Model) -> None:
    template = "{% for m in messages %}{{ m.content or m.tool_calls[0].name }}|{{ m.name }}\n{% endfor %}"
    call = {"role": "assistant", "content": None, "tool_calls": [{"name": "weather"}], "name": "x"}
    chat = small.chat(template=template, messages=[call])
    assert "weather|x" in small.detokenize(chat.prompt("hello"))
    assert chat.history[0].as_dict() == call


WRONG: list[tuple[Any, str]] = [
    ({"role": "pirate", "content": "Arr"}, "role 'pirate'"),
    ({"content": "no role"}, "role None"),
    ("text", "have a str"),
    ({"role": "user", "content": 5}, "type int"),
]


@pytest.mark.parametrize(("message", "said"), WRONG)
def test_wrong_messages_are_found_at_the_door(demo: flyball.Model, message: Any, said: str) -> None:
    chat = demo.chat(messages=SHOTS)
    before = chat.history
    with pytest.raises(flyball.InvalidArgument, match=said):
        demo.chat(messages=[message])
    with pytest.raises(flyball.InvalidArgument, match=said):
        chat.history = (*before, message)
    with pytest.raises(flyball.InvalidArgument, match="type int"):
        chat.edit(0, 5)  # type: ignore[arg-type]
    assert chat.history == before


# ---------------------------------------------------------------- files


def test_a_loaded_chat_answers_as_the_saved_one(demo: flyball.Model, tmp_path: Path) -> None:
    chat = demo.chat(system="Sei freundlich: \u4f60\u597d \U0001f98a \x1b", messages=SHOTS, enable_thinking=False)
    chat.send("Who are you?", 8)
    path = chat.save(tmp_path / "talk" / "it.json")
    loaded = demo.chat(system="Another.", enable_thinking=True)
    loaded.load(path)
    assert (loaded.history, loaded.variables) == (chat.history, {"enable_thinking": False})
    assert ask(loaded) == ask(chat)
    assert json.loads(path.read_text())["messages"][1] == SHOTS[0]


BAD: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda d: d.update(format="other"), "not a saved conversation"),
    (lambda d: d.update(version=2), "version: is 2"),
    (lambda d: d.update(messages=5), "no list of messages"),
    (lambda d: d.pop("messages"), "no list of messages"),
    (lambda d: d["messages"][0].update(role="pirate"), "role 'pirate'"),
    (lambda d: d["messages"][0].update(content="\ud800"), "not JSON in UTF-8"),
    (lambda d: d.update(left_out=99), "left_out"),
    (lambda d: d.update(left_out=True), "left_out"),
    (lambda d: d.update(variables=[]), "variables"),
]


@pytest.mark.parametrize(("change", "said"), BAD)
def test_a_bad_file_leaves_the_chat_alone(
    demo: flyball.Model, tmp_path: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    chat = demo.chat(messages=SHOTS)
    path = chat.save(tmp_path / "it.json")
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    before = chat.history
    with pytest.raises(flyball.FormatError, match=said):
        chat.load(path)
    assert chat.history == before


@pytest.mark.parametrize("raw", [b"", b"\xff", b"[" * 100_000, b"[]", b"{}"])
def test_what_is_no_saved_chat_is_refused(demo: flyball.Model, tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "it.json"
    path.write_bytes(raw)
    with pytest.raises(flyball.FormatError):
        demo.chat().load(path)
    with pytest.raises(flyball.NotFound):
        demo.chat().load(tmp_path / "none.json")
    with pytest.raises(flyball.FileError):
        demo.chat().load(tmp_path)


def test_what_json_cannot_hold_is_said(demo: flyball.Model, tmp_path: Path) -> None:
    for value in (object(), float("nan"), "\ud800"):
        with pytest.raises(flyball.InvalidArgument, match="cannot be written as JSON"):
            demo.chat(odd=value).save(tmp_path / "it.json")
    assert list(tmp_path.glob("*.json")) == []


# ---------------------------------------------------------------- a full context


def test_the_oldest_turns_are_left_out_of_a_full_context(small: flyball.Model, tmp_path: Path) -> None:
    """The context of 256: room for an answer is 64, so prompts have up to 192 tokens, and 128 after leaving out."""
    chat = small.chat("Brief.", JOINED)
    counts = []
    for turn in range(20):
        text = f"turn {turn}"
        n = chat.make_room(text, 100)
        counts.append(n)
        size = len(chat.prompt(text))
        assert size <= (128 if n else 192)
        assert "Brief." in (said := small.detokenize(chat.prompt(text)))
        assert text in said
        chat.send(text, 4, ignore_eos=True)
    assert chat.left_out == sum(counts) > 2
    assert 0 in counts[counts.index(max(counts)) + 1 :]  # several turns fit before the next have to go
    assert len(chat.history) == 41
    assert chat.history[1].content == "turn 0"
    loaded = small.chat(template=JOINED)
    loaded.load(chat.save(tmp_path / "it.json"))
    assert loaded.prompt("next") == chat.prompt("next")
    while chat.left_out:
        chat.undo()
    assert chat.history[0].role == "system"


def test_a_long_last_turn_stays_if_it_fits(small: flyball.Model) -> None:
    old = [{"role": "user", "content": "old " * 12}, {"role": "assistant", "content": "yes " * 12}]
    last = [{"role": "user", "content": "last " * 22}, {"role": "assistant", "content": "ok"}]
    chat = small.chat(template=JOINED, messages=[*old, *last])
    assert chat.make_room("and?", 64) == 2
    assert len(chat.prompt("and?")) > 128
    assert "last last" in small.detokenize(chat.prompt("and?"))


def test_a_message_that_fills_the_context_alone_is_said(small: flyball.Model) -> None:
    chat = small.chat(template=JOINED, messages=SHOTS)
    with pytest.raises(flyball.ContextFull, match=r"message: has \d+ tokens .* the context holds 256; choose"):
        chat.make_room("word " * 300)
    assert chat.left_out == 0
    assert chat.make_room("short") == 0
