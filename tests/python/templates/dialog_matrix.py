"""The templates of many models in a dialog: any form of messages renders, and their answers are read back.

    python -m tests.python.templates.dialog_matrix [TEMPLATE ...]

Each template renders plain conversations, tools, calls and results, given in the forms that programs have. Then it
writes an answer with thoughts and two calls as it does for the history, and the parser of its family must find in this
text what was written. A refusal is printed with the template's own words.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import flyball
from flyball.answers.formats import format_of, make_parser
from flyball.answers.parts import Answer
from flyball.templates.adapt import MessageForm
from flyball.templates.template import ChatTemplate
from tests.python.engine import vocabularies

from .conversations import Messages, assistant, call, system, tool, user
from .template_matrix import characters

WEATHER = tool(
    "get_weather",
    "The weather",
    {"city": {"type": "string", "description": "Where"}, "days": {"type": "integer", "description": "How many"}},
    ["city"],
)
TEXT, MAPPING = '{"city": "Paris", "days": 3}', {"city": "Rome", "days": 1}
PARTS = [{"type": "text", "text": "What is the "}, {"type": "text", "text": "weather?"}]
RESULT: dict[str, Any] = {"role": "tool", "content": "Sunny", "tool_call_id": "call_one"}
RESULTS = [RESULT, {"role": "tool", "content": [{"type": "text", "text": "Rain"}], "tool_call_id": "call_two"}]
CALLS = [call("get_weather", TEXT, "call_one"), call("get_weather", MAPPING, "call_two")]
ONE = assistant(None, reasoning_content="Hm, so.", tool_calls=CALLS[:1])
TWO = assistant("Look.", tool_calls=CALLS)
_END = re.compile(r"(<\|(eot|eot_id|call)\|>)$")
THINKS: list[dict[str, Any]] = [{"enable_thinking": True}, {"thinking": True}, {}]


def dialogs() -> Iterator[tuple[str, Messages, dict[str, Any], list[str]]]:
    """Names, messages, variables, and what must come out."""
    tools: dict[str, Any] = {"tools": [WEATHER]}
    yield "plain", [user("Hello")], {}, ["Hello"]
    yield "system", [system("Be brief."), user("Hello")], {}, ["Be brief.", "Hello"]
    yield "turns", [user("Hello"), assistant("Hi."), user("And?")], {}, ["Hello", "Hi.", "And?"]
    yield "parts", [user(PARTS)], {}, ["What is the weather?"]
    yield "no content", [user("Hello"), assistant(None), user("And?")], {}, ["Hello", "And?"]
    yield "tools", [user(PARTS)], tools, ["weather?", "get_weather", "city"]
    yield "call", [user("x"), ONE, RESULT], tools, ["get_weather", "Paris", "Sunny"]
    yield "call, more", [user("x"), ONE, RESULT, assistant("It is."), user("And?")], tools, ["Paris", "Sunny", "It is."]
    yield "two calls", [user("x"), TWO, *RESULTS], tools, ["Paris", "Rome", "Sunny", "Rain"]


def read_back(template: ChatTemplate, adapter: MessageForm, calls: int) -> Answer | None:
    """The answer that is found in what the template writes for one; None if it refuses it."""
    answers = []
    for variables in THINKS:
        message = ONE if calls == 1 else TWO | {"reasoning_content": "Hm, so."}
        names = variables | {"tools": [WEATHER]}
        try:
            prompt = adapter.render([user("x")], **names)
            whole = adapter.render([user("x"), message], add_generation_prompt=False, **names)
        except flyball.Error:
            continue
        same = next((i for i, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), len(prompt))
        tail, whole = whole[:same], _END.sub("", whole)
        parser = make_parser(format_of(template.source), tools=[WEATHER], tail=tail[-100:])
        parser.feed(None, whole[len(tail) :])
        parser.finish()
        answers.append(parser.answer)
    return max(answers, key=lambda each: (len(each.tool_calls), each.reasoning_content == "Hm, so."), default=None)


def measure(source: str) -> tuple[list[str], Answer | None]:
    """What is wrong or refused, and an answer that was read back."""
    template = ChatTemplate(source, characters, {}, bos="<s>", eos="</s>")
    adapter = MessageForm(template)
    wrong = []
    for name, messages, variables, expected in dialogs():
        try:
            text = adapter.render(messages, **variables)
            adapter.ids(messages, **variables)
        except flyball.Error as error:
            wrong.append(f"{name}: {error}")
            continue
        if name == "tools" and "get_weather" not in text:
            wrong.append("tools: the template does not mention them")
        else:
            wrong += [f"{name}: lacks {part!r}" for part in expected if part not in text]
    return wrong, read_back(template, adapter, 2) or read_back(template, adapter, 1)


def main() -> int:
    """Print a line for each template, and what each refuses; exit code 1 if something is lost without a word."""
    only = sys.argv[1:]
    lost = 0
    for path in vocabularies.templates():
        source = path.read_text(encoding="utf-8")
        if only and not any(part in path.stem for part in only):
            continue
        wrong, answer = measure(source)
        found = [call.mapping for call in answer.tool_calls] if answer else []
        thought = "thoughts" if answer and answer.reasoning_content == "Hm, so." else ""
        print(f"{path.stem:50} {format_of(source).name:16} {len(found)} calls {thought}", flush=True)
        print("".join(f"    {line[:160]}\n" for line in wrong), end="", flush=True)
        lost += sum("lacks" in line for line in wrong)
        lost += any(each not in ({"city": "Paris", "days": 3}, MAPPING) for each in found)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
