"""Answers read as they come: whatever the stream's cuts are, the same parts come out, and nothing is taken back."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from flyball.answers.formats import format_of, make_parser
from flyball.answers.parser import AnswerParser
from flyball.answers.parts import Answer, Delta
from flyball.answers.symbols import Vocabulary
from tests.python.answers.examples import EXAMPLES, TOOLS, Example

Step = tuple[int | None, str]
WORDS = 1000  # ids of control tokens below, of characters from here on


def vocabulary(controls: Sequence[str]) -> Vocabulary:
    """Of control tokens and single characters."""
    texts = dict(enumerate(controls))
    return Vocabulary(texts, lambda ids: "".join("" if i < WORDS else chr(i - WORDS) for i in ids).encode())


def tokens_of(text: str, controls: Sequence[str]) -> list[int]:
    """Ids of a text with its control tokens."""
    ids = {control: i for i, control in enumerate(controls)}
    split = re.split(f"({'|'.join(map(re.escape, controls))})", text) if controls else [text]
    return [i for part in split for i in ([ids[part]] if part in ids else [WORDS + ord(c) for c in part])]


def steps(tokens: Sequence[int], late: random.Random | None = None) -> Iterator[Step]:
    """As a generation gives them. `late`: text may come after its token, but for the last one."""
    waiting = ""
    for token in tokens:
        waiting += chr(token - WORDS) if token >= WORDS else ""
        if late and late.random() < 0.5:
            yield token, ""
            continue
        yield token, waiting
        waiting = ""
    if waiting:
        yield None, waiting


def cut(text: str, draw: random.Random) -> Iterator[Step]:
    """A text in pieces of any size."""
    while text:
        n = draw.choice([1, 1, 2, 3, 5, 8, 40])
        yield None, text[:n]
        text = text[n:]


def parser_of(example: Example, tools: Sequence[dict[str, Any]] | None = TOOLS, tokens: bool = True) -> AnswerParser:
    known = vocabulary(example.controls) if tokens else None
    return make_parser(format_of(example.marks), [1, 2], tools, known, example.tail)


def read(parser: AnswerParser, stream: Iterator[Step] | Sequence[Step]) -> tuple[Answer, list[Delta]]:
    deltas = [delta for token, text in stream for delta in parser.feed(token, text)]
    deltas += parser.finish()
    return parser.answer, deltas


def joined(deltas: Sequence[Delta]) -> Answer:
    calls = [delta.tool_call for delta in deltas if delta.tool_call]
    assert [delta.index for delta in deltas if delta.tool_call] == list(range(len(calls)))
    return Answer(
        "".join(delta.content for delta in deltas), "".join(delta.reasoning_content for delta in deltas), tuple(calls)
    )


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_the_parts_of_an_answer(example: Example) -> None:
    answer, _ = read(parser_of(example), list(steps(tokens_of(example.text, example.controls))))
    assert (answer.content, answer.reasoning_content) == (example.content, example.reasoning)
    assert [(call.name, call.mapping) for call in answer.tool_calls] == list(example.calls)
    assert len({call.id for call in answer.tool_calls}) == len(example.calls)
    assert all(call.id for call in answer.tool_calls)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_where_a_stream_is_cut_changes_nothing(example: Example) -> None:
    draw = random.Random(example.name)
    expected, _ = read(parser_of(example, tokens=False), [(None, example.text)])
    for _ in range(40):
        answer, deltas = read(parser_of(example, tokens=False), list(cut(example.text, draw)))
        assert answer == expected == joined(deltas)
    ids = tokens_of(example.text, example.controls)
    expected, _ = read(parser_of(example), list(steps(ids)))
    for _ in range(20):
        answer, deltas = read(parser_of(example), list(steps(ids, draw)))
        assert answer == expected == joined(deltas)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_no_tag_is_ever_shown_in_part(example: Example) -> None:
    """At every step, what was given begins what is given in the end: so no half of a tag, which is not in there."""
    parser = parser_of(example)
    content = reasoning = ""
    for token, text in steps(tokens_of(example.text, example.controls)):
        for delta in parser.feed(token, text):
            content, reasoning = content + delta.content, reasoning + delta.reasoning_content
            assert example.content.startswith(content)
            assert example.reasoning.startswith(reasoning)
    parser.finish()


def damaged(text: str, draw: random.Random, others: Sequence[str]) -> str:
    """A text cut, or with something missing, twice, exchanged, or of another."""
    for _ in range(draw.randint(1, 3)):
        a, b = sorted((draw.randrange(len(text) + 1), draw.randrange(len(text) + 1)))
        other = draw.choice(others)
        piece = other[draw.randrange(len(other) + 1) :][: draw.choice([1, 3, 10, 60])]
        text = draw.choice([text[:a], text[:a] + text[b:], text[:b] + text[a:], text[:a] + piece + text[a:]]) or "x"
    return text


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_malformed_answers_fail_nothing(example: Example) -> None:
    draw = random.Random(example.name)
    others = [each.text for each in EXAMPLES]
    for _ in range(60):
        text = damaged(example.text, draw, others)
        for tokens in (False, True):
            ids = tokens_of(text, example.controls) if tokens else tokens_of(text, ())
            answer, deltas = read(parser_of(example, tokens=tokens), list(steps(ids)))
            assert answer == joined(deltas)
            for call in answer.tool_calls:
                assert isinstance(json.loads(call.json), dict)
                assert call.name
        again, deltas = read(parser_of(example, tokens=False), list(cut(text, draw)))
        assert again == joined(deltas)
        assert again == read(parser_of(example, tokens=False), [(None, text)])[0]


@pytest.mark.parametrize("example", [each for each in EXAMPLES if each.controls], ids=lambda example: example.name)
def test_where_tags_are_tokens_their_spelling_is_text(example: Example) -> None:
    answer, _ = read(parser_of(example), list(steps(tokens_of(example.text, ()))))
    opened = example.name in ("kimi k3", "deepseek 3.1")  # by the prompt, and never closed
    assert answer == (Answer("", example.text) if opened else Answer(example.text))


HERMES, XML = "<tool_call>", "<tool_call> <function= <parameter="
NO_CALLS = [
    (HERMES, "<tool_call>no json</tool_call> more"),
    (HERMES, "<tool_call>[1, 2]</tool_call>"),
    (HERMES, '<tool_call>{"name": 5, "arguments": {}}</tool_call>'),
    (HERMES, '<tool_call>{"name": "weather", "arguments": [1]}</tool_call>'),
    (HERMES, '<tool_call>{"name": "weather", "arguments": {"days": NaN}}</tool_call>'),
    (HERMES, '<tool_call>{"name": "weather", "arguments": {"days": 1e999}}</tool_call>'),
    (HERMES, "<tool_call>" + "[" * 100_000 + "</tool_call>"),
    (HERMES, "<tool_call>{}</tool_call>"),
    (HERMES, "<tool_call></tool_call>"),
    (HERMES, '<tool_call>{"name": "weather"'),
    (HERMES, "a <tool_call> b <tool_call c </tool_call"),
    (XML, "<tool_call><function=weather>no parameter</function></tool_call>"),
    (XML, "<tool_call><function=weather><parameter=a>1</parameter>"),
    ("<|tool_call_start|>", "<|tool_call_start|>[__import__('os').system('x')]<|tool_call_end|>"),
    ("<|tool_call_start|>", "<|tool_call_start|>[weather('Paris')]<|tool_call_end|>"),
    ("<|tool_call_start|>", "<|tool_call_start|>[weather(city=open('x'))]<|tool_call_end|>"),
    ("<|tool_call_start|>", "<|tool_call_start|>[weather(city=" + "(" * 5000 + ")]<|tool_call_end|>"),
    ("<|tool_call>call:", "<|tool_call>call:weather{city:" + "[" * 5000 + "<tool_call|>"),
    ("<|tool_call>call:", "<|tool_call>call:weather{city<tool_call|>"),
    ("[TOOL_CALLS]", "[TOOL_CALLS]weather[ARGS]no json }"),
]


@pytest.mark.parametrize(("marks", "text"), NO_CALLS, ids=lambda text: text[:60])
def test_what_is_no_call_is_content_as_it_was_written(marks: str, text: str) -> None:
    answer, deltas = read(make_parser(format_of(marks), tools=TOOLS), [(None, text)])
    assert answer == Answer(text) == joined(deltas)


def test_a_call_after_one_that_is_none() -> None:
    text = 'a <tool_call>no</tool_call> <tool_call> b <tool_call>{"name": "clock", "arguments": {}}</tool_call> c'
    answer, _ = read(make_parser(format_of(HERMES), tools=TOOLS), [(None, text)])
    assert answer.content == "a <tool_call>no</tool_call> <tool_call> b\n\nc"
    assert [call.name for call in answer.tool_calls] == ["clock"]


def test_without_tools_there_are_no_calls() -> None:
    for example in EXAMPLES:
        if example.calls and not example.marks.startswith(("<|channel|>", "<atem", ">>>all")):
            answer, _ = read(parser_of(example, tools=None), [(None, example.text)])
            assert answer.tool_calls == ()


HOSTILE = [
    (HERMES, "<tool_call>" * 20_000 + "</tool_call>"),
    (HERMES, '<tool_call>{"' + "</tool_call>" * 5000),
    (HERMES, '<tool_call>[{"name":"a"},' * 9000 + "</tool_call>" * 3000),
    (HERMES, "<<" * 50_000),
    (XML, "<tool_call><function=a>" + "<parameter=a>" * 8000 + "</function></tool_call>"),
    (XML, "<function=a>" + "<parameter=a></parameter>x" * 8000 + "</function>"),
    (XML, "<tool_call>" + "</function></tool_call>" * 4000),
    ("<arg_key>", "<tool_call>a" + "<arg_key>x</arg_key><arg_value>" * 5000 + "</tool_call>" * 5000),
    ("<|tool_call>call:", "<|tool_call>call:f{" + "a:1," * 20_000 + "<tool_call|>" * 5000),
    ("<minimax:tool_call>", "<minimax:tool_call>" + '<invoke name="a">' * 5000 + "</minimax:tool_call>" * 999),
    ("]<]minimax[>[", "]<]minimax[>[<tool_call>" + "]<]minimax[>[<a>" * 5000 + "]<]minimax[>[</tool_call>"),
    ("<|tool_call_start|>", "<|tool_call_start|>" + "[f(a=1)," * 9000 + "<|tool_call_end|>" * 2000),
    ("[TOOL_CALLS]", "[TOOL_CALLS][" + '{"a": 1},' * 20_000),
    ("[TOOL_CALLS]", "[TOOL_CALLS]" + "[]" * 9000),
    (">>>all", ">>>" * 20_000 + "\n" * 20_000),
]


@pytest.mark.parametrize(("marks", "text"), HOSTILE, ids=lambda text: text[:40])
def test_reading_takes_time_that_grows_with_the_answer(marks: str, text: str) -> None:
    start = time.thread_time()
    answer, _ = read(make_parser(format_of(marks), tools=TOOLS), [(None, text)])
    assert not answer.tool_calls
    assert answer.content.startswith(text[:40])
    assert time.thread_time() - start < 10


def test_ids_are_those_of_the_prompt() -> None:
    """They become part of later prompts, so the same prompt must give the same ids."""
    text = '<tool_call>{"name": "clock"}</tool_call>' * 3
    ids = [
        [call.id for call in read(make_parser(format_of(HERMES), prompt, TOOLS), [(None, text)])[0].tool_calls]
        for prompt in ([1, 2], [1, 2], [1, 3])
    ]
    assert ids[0] == ids[1] != ids[2]
    assert all(re.fullmatch("[0-9A-Za-z]{9}", each) for each in ids[0])
    assert len(set(ids[0])) == 3


def test_control_tokens_that_no_format_knows_are_text() -> None:
    known = vocabulary(["<|x|>"])
    answer, _ = read(make_parser(format_of(HERMES), vocabulary=known), [(WORDS + 97, "a"), (0, ""), (WORDS + 98, "b")])
    assert answer == Answer("a<|x|>b")


def test_a_stop_string_leaves_no_control_token_behind_it() -> None:
    """The text of a stream ends before the stop string; what its tokens had after that does not count."""
    known = vocabulary(["<|x|>"])
    stream = [(WORDS + 97, "a"), (WORDS + 98, ""), (0, ""), (WORDS + 99, "")]
    assert read(make_parser(format_of(HERMES), vocabulary=known), stream)[0] == Answer("a")


def test_every_format_has_an_example_and_no_tag_begins_another() -> None:
    from flyball.answers.formats import _FORMATS

    assert {form.name for _, form in _FORMATS} == {format_of(each.marks).name for each in EXAMPLES} - {"plain"}
    for example in EXAMPLES:
        parser = parser_of(example)
        tags = getattr(parser, "_content_tags", None) or parser._tags  # type: ignore[attr-defined]
        assert not tags.whole & tags.beginnings


@pytest.mark.parametrize("before", [[0], [WORDS + 10], []], ids=["token", "text", "nothing"])
def test_control_tokens_stand_where_they_stood_however_late_the_text_comes(before: list[int]) -> None:
    """Tokenizers may drop a space at the beginning and after control tokens, and write a character in several."""

    def detokenize(ids: list[int]) -> bytes:
        text, dropped = b"", True
        for i in ids:
            text += b"" if i < WORDS or (dropped and i == WORDS + 32) else bytes([i - WORDS])
            dropped = i < WORDS
        return text

    known = Vocabulary({0: "<|x|>", 1: "<|end|>"}, detokenize, frozenset({1}))
    tokens = [WORDS + byte for byte in " a \u00e9".encode()] + [0, WORDS + 32, WORDS + 98, 1, 0, WORDS + 99]
    text = detokenize([*before, *tokens])[len(detokenize(before)) :].decode()
    stream = [(token, "") for token in tokens] + [(None, text)]
    answer, _ = read(make_parser(format_of(HERMES), before, vocabulary=known), stream)
    lead = "" if before != [WORDS + 10] else " "
    assert answer.content == f"{lead}a \u00e9<|x|>b<|x|>c"
