"""Synthetic examples: recipes, what the checker refuses, teachers with several keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flyball.errors import FormatError, InvalidArgument, NotFound, Unavailable
from flyball.learn.language import share
from flyball.learn.python_check import fault
from flyball.learn.recipe import Recipe
from flyball.learn.synthesize import synthesize
from flyball.learn.teachers import Rotation
from flyball.scorecard.subjects import About, Answer, Usage
from flyball.store.question import plain

GOOD = '''Here it is:
```python
def double(n: int) -> int:
    """Twice n.

    >>> double(2)
    4
    """
    return 2 * n
```'''


@dataclass
class Teacher:
    """Says what a function of prompt and seed gives."""

    say: Callable[[str, int], str]
    asked: list[str] = field(default_factory=list)
    about: About = field(default_factory=lambda: About("teacher", fingerprint="f" * 64, place="http://x/v1"))

    def answer(self, prompt: str, seed: int, max_tokens: int) -> Answer:
        self.asked.append(prompt)
        return Answer(self.say(prompt, seed), 1, 0.0, 0.0)

    def usage(self) -> Usage:
        return Usage()


def recipe(text: str) -> Recipe:
    return Recipe.parse("r.toml", text.encode())


CHAT = """
name = "chat"
count = 3
ask = "Ask about {topic}."
answer = "{question} Be brief."
[slots]
topic = ["tea", "bread"]
[check]
language = "tr"
question = [8, 60]
answer = [8, 80]
"""


@pytest.mark.parametrize("name", ["turkish-chat", "python-pairs"])
def test_the_recipes_of_flyball(name: str) -> None:
    loaded = Recipe.load(name)
    assert (loaded.name, loaded.count) == (name, 500)
    fillings = loaded.fillings()
    assert len({tuple(each.items()) for each in fillings}) == len(fillings) > 50
    assert fillings == Recipe.load(name).fillings()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("count = 3", "count = 0", "count: is 0, must be 1"),
        ("count = 3", 'count = "3"', "count: is '3', must be of type int"),
        ("count = 3", "cuont = 3", "cuont: is unknown; known are name"),
        ("{topic}", "{subject}", "ask: has {subject}, which is no slot"),
        ('["tea", "bread"]', "[]", "slots.topic: must be a list of texts"),
        ('"tr"', '"xx"', "check.language: is 'xx', must be one of tr, en"),
        ("[8, 60]", "[60, 8]", "check.question: is"),
        ("[8, 60]", '["a", 8]', "check.question: is"),
        ("[check]", "[check", "is not TOML"),
        ('name = "chat"', "", "name: is missing"),
        ("language =", "python =", "check.python: is 'tr'"),
    ],
)
def test_wrong_recipes_say_what_is_wrong(old: str, new: str, message: str) -> None:
    with pytest.raises(FormatError, match=r"r\.toml") as caught:
        recipe(CHAT.replace(old, new))
    assert message in str(caught.value)


def test_an_unknown_recipe_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="is neither a file nor one of python-pairs, turkish-chat"):
        Recipe.load("nothing")
    (tmp_path / "r.toml").write_text(CHAT)
    assert Recipe.load(str(tmp_path / "r.toml")).name == "chat"


def test_what_passes_is_marked_and_what_does_not_is_counted() -> None:
    questions = ["Çay nasıl yapılır?", "How is tea made?", "Çay nasıl yapılır?", "Ekmek için ne gerekir?", "Çay?"]

    def say(prompt: str, seed: int) -> str:
        return f'"{questions[seed]}"' if prompt.startswith("Ask") else "Önce su kaynar, sonra çay eklenir."

    teacher = Teacher(lambda prompt, seed: say(prompt, seed % 5))
    made = synthesize(recipe(CHAT), teacher, known=["Ekmek için ne gerekir ?"], count=1, license="free")
    (example,) = made.examples
    assert (plain(example.question), example.answer) == (questions[0], "Önce su kaynar, sonra çay eklenir.")
    assert (example.kind, example.source, example.model, example.state) == (
        "synthetic",
        "synthetic",
        "teacher",
        "proposed",
    )
    assert '"license": "free"' in str(example.origin)
    assert teacher.asked[1] == f"{questions[0]} Be brief."
    all_of_it = synthesize(recipe(CHAT), teacher, known=["Ekmek için ne gerekir ?"])
    assert [plain(each.question) for each in all_of_it.examples] == questions[:1]
    assert all_of_it.n_tries == 15
    assert dict(all_of_it.refused) == {"another language": 3, "repeats a question": 8, "too short": 3}


def test_the_same_recipe_gives_the_same_examples() -> None:
    def say(prompt: str, seed: int) -> str:
        return f"Sence {seed} numaralı soru ne için var?" if prompt.startswith("Ask") else "Bu soru senin için var."

    first, second = (synthesize(recipe(CHAT), Teacher(say)) for _ in range(2))
    assert first.examples == second.examples
    assert len(first.examples) == 3


def test_languages_are_told_apart() -> None:
    assert share("Merhaba, bugün hava nasıl?", "tr") == 1
    assert share("Hello, how is the weather today?", "tr") == 0
    assert share("IŞIK NEDEN ÖNEMLİ", "tr") == 1
    assert 0 < share("Bu cümle için the word you want", "tr") < 1
    assert share("12345", "tr") == 0


def test_python_is_compiled_and_its_doctests_run() -> None:
    assert fault(GOOD, run=True) == ""
    assert fault("def f(:", run=False).startswith("is not Python")
    assert fault("```python\n```", run=False) == "has no code"
    assert fault("def f(): pass", run=False) == ""
    assert fault("def f(): pass", run=True) == "has no doctest"
    assert fault(GOOD.replace("    4", "    5"), run=True) == "fails its doctests"
    assert fault(GOOD.replace("return 2 * n", "raise SystemExit(0)"), run=True) == "fails its doctests"
    assert fault("x = '\\0'\n" + "(" * 3000, run=False).startswith("is not Python")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("import os", "imports os"),
        ("import collections, socket", "imports socket"),
        ("from . import x", "imports ."),
        ("from dataclasses import sys", "uses sys"),
        ("import dataclasses; dataclasses.sys.modules", "uses sys"),
        ("import random; random._os.system('x')", "uses _os"),
        ("open('/etc/passwd')", "uses open"),
        ("eval('1')", "uses eval"),
        ("().__class__", "uses __class__"),
        ("__builtins__", "uses __builtins__"),
        ("(x for x in ()).gi_frame", "uses gi_frame"),
        ("import typing; typing.get_type_hints(f)", "uses get_type_hints"),
        ("match 1:\n    case object(__class__=c): pass", "uses __class__"),
    ],
)
def test_code_that_could_do_harm_is_not_run(line: str, why: str) -> None:
    docstring = '"""\n>>> 1\n1\n"""\n'
    assert fault(docstring + line, run=True) == why
    in_doctest = line.splitlines()[0] if "match" not in line else "().__class__"
    assert fault(f'"""\n>>> {in_doctest}\n"""', run=True) == why


class Clock:
    """Time that passes while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 3))
        self.now += seconds


def test_keys_are_used_in_turn_and_no_faster_than_they_may() -> None:
    clock, used = Clock(), list[str]()
    keys = [Teacher(lambda *_, name=name: used.append(name) or "x") for name in "ab"]  # type: ignore[func-returns-value]
    rotation = Rotation(keys, 30, clock, clock.sleep)
    for _ in range(4):
        assert rotation.answer("Hi", 1, 9).text == "x"
    assert used == ["a", "b", "a", "b"]
    assert clock.slept == [0, 0, 2, 0]
    assert rotation.about.name == "teacher"


def test_a_refused_key_rests_and_the_others_answer() -> None:
    clock, calls = Clock(), list[str]()

    def refusing(_: str, __: int) -> str:
        calls.append("a")
        raise Unavailable("http://x", "answered 429: slow down")

    rotation = Rotation([Teacher(refusing), Teacher(lambda *_: "b")], 60, clock, clock.sleep)
    assert [rotation.answer("Hi", 1, 9).text for _ in range(5)] == ["b"] * 5
    assert calls == ["a"]
    with pytest.raises(Unavailable, match="refused all 1 keys again and again: answered 429"):
        Rotation([Teacher(refusing)], 60, clock, clock.sleep).answer("Hi", 1, 9)


def test_other_errors_are_told_at_once() -> None:
    def failing(_: str, __: int) -> str:
        raise InvalidArgument("model", "is unknown")

    with pytest.raises(InvalidArgument):
        Rotation([Teacher(failing)], 60).answer("Hi", 1, 9)
