"""Constraints as values: kinds, texts, hashes, thoughts, and what happens without the library."""

from __future__ import annotations

import dataclasses
import pickle
import sys
from typing import Any

import pytest

import flyball
from flyball.constraints import library
from flyball.constraints.compiled import Compiler
from flyball.constraints.constraint import Constraint, Thoughts


def test_a_value() -> None:
    constraint = Constraint.choice(["é", "b"])
    assert (constraint.kind, constraint.text) == ("choice", '["é","b"]')
    assert constraint.library.startswith("llguidance 1.")
    assert constraint == Constraint.choice(("é", "b")) == pickle.loads(pickle.dumps(constraint))
    assert len(constraint.sha256) == 64
    others = [
        Constraint.choice(["é"]),
        dataclasses.replace(constraint, kind="lark"),
        dataclasses.replace(constraint, library="llguidance 2.0.0"),
    ]
    assert len({each.sha256 for each in (constraint, *others)}) == 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constraint.choice([]), "list of texts"),
        (lambda: Constraint.choice("abc"), "list of texts"),
        (lambda: Constraint.choice([1]), "list of texts"),  # type: ignore[list-item]
        (lambda: Constraint.regex(""), "is empty"),
        (lambda: Constraint.gbnf(7), "must be text"),  # type: ignore[arg-type]
        (lambda: Constraint.lark("\ud800"), "lone surrogate"),
        (lambda: Constraint.regex("%thinking {}"), "after_thinking"),
        (lambda: Constraint.regex("a").after_thinking("", "x"), "empty tag"),
        (lambda: Constraint.regex("a").after_thinking("a", "b").after_thinking("a", "b"), "already"),
        (lambda: Constraint("grammar", "a", "b"), "kind 'grammar'"),
        (lambda: Constraint("regex", "%thinking [1]\na", "b").parts(), "invalid line"),
        (lambda: Constraint("regex", '%thinking {"open":1,"close":"b","opened":true}\na', "b").parts(), "invalid line"),
    ],
)
def test_what_is_none(make: Any, message: str) -> None:
    with pytest.raises(flyball.Error, match=message):
        make()


def test_thoughts_are_part_of_the_text() -> None:
    plain = Constraint.regex("a\nb")
    composed = plain.after_thinking("<think>", '"</think>\n', opened=True)
    assert composed.kind == "regex"
    assert composed.parts() == (Thoughts("<think>", '"</think>\n', True), "a\nb")
    assert plain.parts() == (None, "a\nb")
    assert composed.sha256 != plain.sha256


def test_without_the_library(demo: flyball.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    constraint = Constraint.regex("a")
    monkeypatch.setitem(sys.modules, "llguidance", None)
    library.name.cache_clear()
    try:
        with pytest.raises(flyball.Unsupported, match=r"pip install 'flyball\[serve\]'"):
            Constraint.regex("a")
        with pytest.raises(flyball.Unsupported, match=r"was applied by llguidance .* pip install"):
            demo.generate("x", 1, constraint=constraint)
        assert demo.generate("x", 1).tokens
    finally:
        library.name.cache_clear()


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        (Constraint.gbnf('root ::= "a'), "line 1"),
        (Constraint.gbnf("root ::= other"), "Rule 'other' not found"),
        (Constraint.gbnf('foo ::= "a"'), "No 'root' rule"),
        (Constraint.gbnf("root ::= " + "(" * 5000), "gbnf"),
        (Constraint.lark("start: x"), "x"),
        (Constraint.lark("start: x\nx[temperature=0.5]: /a/"), "temperature"),
        (Constraint.lark('start: %json {"x-guidance":{"lenient":true},"not":{}}'), "Unimplemented"),
        (Constraint.lark('{"grammars":[]}'), "lark"),
        (Constraint.regex("(?=a)b"), "look-around"),
        (Constraint.regex("a("), "unclosed group"),
        (Constraint("json_schema", '{"not":{}}', library.name()), "$.not"),
        (Constraint("json_schema", "{", library.name()), "is not JSON"),
        (Constraint("choice", "[1", library.name()), "choice"),
    ],
)
def test_what_cannot_be_compiled(demo: flyball.Model, constraint: Constraint, message: str) -> None:
    with pytest.raises(flyball.Error) as caught:
        demo.generate("x", 1, constraint=constraint)
    assert isinstance(caught.value, flyball.InvalidArgument | flyball.Unsupported)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_errors_do_not_quote_the_text(demo: flyball.Model) -> None:
    secret = "word" * 200
    with pytest.raises(flyball.Error) as caught:
        demo.generate("x", 1, json_schema={"properties": {"a": {"const": secret, "type": "strin"}}})
    assert secret not in str(caught.value)


def test_compiled_once_and_kept_in_bounds(demo: flyball.Model) -> None:
    compiler = Compiler(demo._core)
    first = compiler.compile(Constraint.regex("a"))
    assert compiler.compile(Constraint.regex("a")) is first
    for n in range(40):
        compiler.compile(Constraint.regex("b" * (n + 1)))
    assert len(compiler._kept) == 32
    assert compiler.compile(Constraint.regex("a")) is not first
