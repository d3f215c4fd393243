"""Calls that are forced: whatever a model would rather say, the reader of its format finds valid calls."""

from __future__ import annotations

import codecs
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import flyball
from flyball.answers.formats import format_of, make_parser
from flyball.answers.forms import Tagged, Writing
from flyball.answers.parts import Answer
from flyball.answers.symbols import Vocabulary
from flyball.constraints.compiled import Compiled, Compiler
from flyball.constraints.constraint import Constraint
from flyball.engine.call_grammar import call_grammar, parameters_of
from tests.python.answers.examples import EXAMPLES, Example

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "minLength": 1, "maxLength": 12},
        "days": {"type": "integer", "minimum": 0, "maximum": 9},
        "unit": {"enum": ["C", "F"]},
        "exact": {"type": "boolean"},
        "note": {"anyOf": [{"type": "string", "maxLength": 9}, {"type": "null"}]},
        "where": {"type": "object", "properties": {"x": {"$ref": "#/$defs/one"}}, "additionalProperties": False},
    },
    "required": ["city", "days"],
    "$defs": {"one": {"const": 1}},
}


def tool(name: str, parameters: Any = None) -> dict[str, Any]:
    function = {"name": name} | ({} if parameters is None else {"parameters": parameters})
    return {"type": "function", "function": function}


TOOLS = [tool("weather", WEATHER), tool("clock")]


class Bytes:
    """A vocabulary of all bytes, control tokens, and one token that ends answers."""

    def __init__(self, controls: Sequence[str]) -> None:
        self.controls = {256 + number: text for number, text in enumerate(controls)}
        self.end = 256 + len(self.controls)

    def info(self) -> dict[str, Any]:
        return {"n_vocab": self.end + 1}

    def piece(self, token: int, special: bool) -> bytes:
        if token < 256:
            return bytes([token])
        return (self.controls | {self.end: "<end>"})[token].encode() if special else b""

    def is_end_of_generation(self, token: int) -> bool:
        return token == self.end

    def tokenize(self, utf8: bytes, add_special: bool, parse_special: bool) -> list[int]:
        return list(utf8)


def walk(compiled: Compiled, core: Bytes, seed: int, most: int = 3000) -> list[int]:
    """An answer that a model without any idea gives, but for a wish to get to an end."""
    masks, chance = compiled.start(), random.Random(f"answer {seed}")
    tokens: list[int] = []
    masks.advance(None)
    for _ in range(most):
        allowed = np.flatnonzero(np.unpackbits(masks.mask.view(np.uint8), bitorder="little")[: core.end + 1])
        weights = [30.0 if t > 255 or t in b'"<}]' else 1.0 if 32 <= t < 127 else 0.01 for t in allowed]
        token = int(chance.choices([int(each) for each in allowed], weights)[0])
        if token == core.end:
            return tokens
        tokens.append(token)
        masks.advance(token)
    raise AssertionError("no end")


def read(example: Example, core: Bytes, tokens: Sequence[int]) -> Answer:
    def text_of(ids: list[int]) -> bytes:
        return bytes(token for token in ids if token < 256)

    vocabulary = Vocabulary(core.controls | {core.end: "<end>"}, text_of, frozenset({core.end}))
    parser = make_parser(format_of(example.marks), [1], TOOLS, vocabulary)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for token in tokens:
        parser.feed(token, decoder.decode(text_of([token])))
    parser.finish()
    return parser.answer


def writing_of(example: Example) -> Writing | None:
    form = format_of(example.marks)
    return form.writing if isinstance(form, Tagged) else None


# One example of each format, and of each way in which its tags are control tokens.
FORCED = {
    (format_of(each.marks).name, writing_of(each), each.controls): each for each in EXAMPLES if writing_of(each)
}  # fmt: skip


@pytest.mark.parametrize("example", FORCED.values(), ids=lambda each: str(each.name))
@pytest.mark.parametrize("one", [False, True])
def test_the_reader_finds_valid_calls(example: Example, one: bool) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    writing, core = writing_of(example), Bytes(example.controls)
    assert writing is not None
    compiled = Compiler(core).compile(Constraint.lark(call_grammar(writing, TOOLS, core.controls, one)))
    names, counts = set(), set()
    for seed in range(8):
        answer = read(example, core, walk(compiled, core, seed))
        assert (answer.content, answer.reasoning_content) == ("", "")
        assert answer.tool_calls
        for call in answer.tool_calls:
            jsonschema.validate(call.mapping, dict(map(parameters_of, TOOLS))[call.name])
        names |= {call.name for call in answer.tool_calls}
        counts.add(len(answer.tool_calls))
    assert names == {"weather", "clock"}
    if one or writing.between is None:
        assert counts == {1}


def test_other_formats_cannot_be_forced() -> None:
    names = {format_of(each.marks).name for each in EXAMPLES if writing_of(each) is None}
    assert names >= {"plain", "harmony", "gemma 4", "lfm"}


XML = format_of("<function= <parameter=").writing  # type: ignore[union-attr]
HERMES = format_of("<tool_call>").writing  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("writing", "parameters", "place"),
    [
        (HERMES, {"properties": {"a": {"not": {}}}}, "$.properties.a.not"),
        (HERMES, {"type": "array"}, "no schema of an object"),
        (HERMES, 5, "no schema of an object"),
        (XML, {"properties": {"a": {"not": {}}}}, "$.properties.a.not"),
        (XML, {"properties": {"a": {"type": "string", "pattern": "a"}}}, "$.properties.a.pattern"),
        (XML, {"properties": {"a": {"type": ["string", "integer"]}}}, "$.properties.a.type"),
        (XML, {"properties": {"a b": {}}}, "a b"),
        (XML, {"properties": {"a": {}}, "required": ["b"]}, "$.required"),
        (XML, {"properties": {"a": {}}, "minProperties": 1}, "$.minProperties"),
    ],
)
def test_what_cannot_be_guaranteed_is_refused(writing: Writing, parameters: Any, place: str) -> None:
    with pytest.raises((flyball.InvalidArgument, flyball.Unsupported)) as caught:
        call_grammar(writing, [tool("f", parameters)], {})
    assert "'f'" in str(caught.value)
    assert place in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", 'a"b', "a>b", "é", "\n", "x" * 1000])
def test_names_that_could_break_out(name: str) -> None:
    with pytest.raises(flyball.Unsupported):
        call_grammar(HERMES, [tool(name)], {})  # type: ignore[arg-type]


def test_calls_or_an_answer_of_a_schema() -> None:
    core = Bytes(())
    assert HERMES is not None
    compiled = Compiler(core).compile(Constraint.lark(call_grammar(HERMES, TOOLS, {}, otherwise='{"type":"integer"}')))
    firsts = {bytes(walk(compiled, core, seed, 9000))[:1] for seed in range(8)}
    assert b"<" in firsts
    assert firsts - {b"<"} <= {*(b"%d" % n for n in range(10)), b"-"}
    assert len(firsts) > 1
