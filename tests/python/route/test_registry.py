"""The registry: loaded, or refused with the line that is wrong."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest

from flyball.errors import FormatError
from flyball.route.places import Places
from flyball.route.registry import load

from .registries import INTENTS, random_registry, registry

DIGEST = "0a" * 32
_REGISTRIES = int(os.environ.get("FLYBALL_ROUTE_REGISTRIES", "400"))


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "routes.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refused(folder: Path, text: str | bytes) -> str:
    with pytest.raises(FormatError) as error:
        load(write(folder, text))
    return str(error.value).removeprefix(str(folder / "routes.toml"))


def line_of(text: str, part: str, nth: int = 0) -> int:
    return [number for number, line in enumerate(text.split("\n"), 1) if part in line][nth]


def test_a_good_one(tmp_path: Path) -> None:
    found = load(write(tmp_path, registry(0.6, more="explore = 0.5")))
    assert list(found.intents) == list(INTENTS)
    math = found.intents["math"]
    assert (math.models, math.floor, math.fallback, math.task) == (("small", "big"), 0.6, "general_chat", "math")
    assert len(math.examples) == 140
    assert (found.explore, found.by, found.error) == (0.5, "ngrams", 0.05)
    with_models = load(write(tmp_path, registry() + '[models.small]\ncapabilities = ["tools"]\n'))
    assert with_models.capabilities == {"small": ("tools",)}
    found.check(["small", "big"])
    assert found.chain("math") == ["math", "general_chat"]
    assert found.chain("general_chat") == ["general_chat"]


def test_examples_of_a_file_are_watched_and_change_the_digest(tmp_path: Path) -> None:
    text = registry().replace('"bundled:math"', '"math.txt"')
    (tmp_path / "math.txt").write_text("# sums\none\ntwo\nthree\nfour\nfive\nfive\n")
    first = load(write(tmp_path, text))
    assert first.intents["math"].examples == ("one", "two", "three", "four", "five")
    assert tmp_path / "math.txt" in first.watched
    (tmp_path / "math.txt").write_text("one\ntwo\nthree\nfour\nfive\nsix\n")
    assert load(tmp_path / "routes.toml").digest != first.digest


@pytest.mark.parametrize(
    ("part", "instead", "said"),
    [
        ("floor = 0.6", "floor = 1.5", "intents.math.floor is 1.5, must be a number from 0 to 1"),
        ("floor = 0.6", "flor = 0.6", "intents.math.flor is unknown"),
        ("floor = 0.6", 'floor = 0.6\nfallback = "maths"', "'maths' is neither an intent nor a served model"),
        ("floor = 0.6", 'floor = 0.6\nadapter = "abc"', "must be a digest"),
        ("floor = 0.6", f'floor = 0.6\nadapter = "{DIGEST}"', "is not there for model 'small'"),
        ('models = ["small", "big"]', 'models = [\n  "small",\n  "bigger",\n]', "model 'bigger' is not served"),
        ('models = ["small", "big"]', 'models = ["small", "small"]', "has 'small' twice"),
        ('models = ["small", "big"]', "models = []", "must name at least one model"),
        ('"bundled:math"', '"bundled:maths"', "there is no such set"),
        ('"bundled:math"', '"math.txt"', "does not exist"),
        ('"bundled:math"', '["one", "two"]', "must be at least 5"),
        ('"bundled:math"', '"bundled:history"', "is an example of"),
    ],
)
def test_what_is_wrong_has_its_line(tmp_path: Path, part: str, instead: str, said: str) -> None:
    text = registry()
    at = text.index(part, text.index("[intents.math]"))
    text = text[:at] + instead + text[at + len(part) :]
    path = write(tmp_path, text)
    with pytest.raises(FormatError) as error:
        load(path).check(["small", "big"], lambda model, digest: False)
    assert said in str(error.value)
    wrong = {"bigger": '"bigger"', "five": "examples"}
    word = next((mark for name, mark in wrong.items() if name in instead), instead.split("\n")[-1])
    line = line_of(text, word, 0 if word not in ("examples",) else 1)
    if "is an example of" not in said:  # told of whichever comes second
        assert f"{path}:{line}: " in str(error.value)


def test_circles_of_fallbacks_are_refused(tmp_path: Path) -> None:
    text = registry(0.5)
    for name, other in (("math", "history"), ("history", "science"), ("science", "math")):
        text = text.replace(f'"bundled:{name}"\n', f'"bundled:{name}"\nfallback = "{other}"\n')
    said = refused(tmp_path, text)
    assert "goes in a circle: math -> history -> science -> math" in said
    line = line_of(text, 'fallback = "math"')
    assert said.startswith(f":{line}: ")


def test_the_fallback_of_all_has_no_floor(tmp_path: Path) -> None:
    text = registry(0.5).replace('"bundled:general_chat"\n', '"bundled:general_chat"\nfloor = 0.2\n')
    said = refused(tmp_path, text)
    assert said.startswith(f":{line_of(text, 'floor = 0.2')}: ")
    assert "is the fallback of all" in said


def test_no_model_may_be_called_auto(tmp_path: Path) -> None:
    found = load(write(tmp_path, registry(models=("auto",))))
    with pytest.raises(FormatError, match="'auto', which asks for routing"):
        found.check(["auto"])


def test_lines_of_keys_and_items() -> None:
    text = (
        'a.b = 1 # "c"\n[t."x.y"]\nlist = [ # [\n  "one", """two\n\\"] """,\n\n  [1,\n2], # ,\n  {k = "]"},\n]\n'
        "last = '''\n[no]\nno = 1\n'''\nend = 2\n[[rows]]\nz = 0\n"
    )
    places = Places(text)
    lines = {
        ("a",): 1, ("a", "b"): 1, ("t",): 2, ("t", "x.y"): 2, ("t", "x.y", "list"): 3, ("t", "x.y", "list", 0): 4,
        ("t", "x.y", "list", 1): 4, ("t", "x.y", "list", 2): 7, ("t", "x.y", "list", 3): 9, ("t", "x.y", "last"): 11,
        ("t", "x.y", "end"): 15, ("rows", "z"): 17, ("t", "x.y", "absent"): 2, ("nothing",): 1,
    }  # fmt: skip
    assert {path: places.line(*path) for path in lines} == lines


def why_not(path: Path) -> str | None:
    try:
        load(path).check(["small", "big"], lambda model, digest: False)
    except FormatError as error:
        return str(error)
    return None


@pytest.mark.soak
def test_random_registries_load_or_are_refused_with_a_line(tmp_path: Path) -> None:
    chance = random.Random(11)
    loaded = 0
    for number in range(_REGISTRIES):
        raw = random_registry(chance)
        if (said := why_not(write(tmp_path, raw))) is None:
            loaded += 1
            continue
        found = re.match(rf"{re.escape(str(tmp_path))}/routes\.toml:(\d+): .", said)
        assert found, (number, said)
        assert 1 <= int(found[1]) <= raw.count(b"\n") + 1
    assert 0.02 < loaded / _REGISTRIES < 0.9
