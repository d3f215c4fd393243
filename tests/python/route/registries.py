"""Registry files for tests: a good one, and random ones of which most are wrong somewhere."""

from __future__ import annotations

import json
import random

from flyball.route.examples import bundled

INTENTS = ("general_chat", "math", "history", "science", "code_python", "translation")


def registry(floor: float = 0.6, models: tuple[str, ...] = ("small", "big"), more: str = "", rows: str = "") -> str:
    """One with the bundled examples. `more`: top-level lines; `rows`: lines of every intent but general_chat."""
    listed = ", ".join(f'"{model}"' for model in models)
    text = f'fallback = "general_chat"\n{more}\n'
    for name in INTENTS:
        text += f'\n[intents.{name}]\nmodels = [{listed}]\nexamples = "bundled:{name}"\n'
        text += "" if name == "general_chat" else f"floor = {floor}\n{rows}"
    return text


def short_registry(floor: float = 0.3, more: str = "", rows: str = "") -> str:
    """One that is learned in a moment: four intents with a few examples of the bundled set. `rows`: of math."""
    text = f'fallback = "general_chat"\n{more}\n'
    for name in INTENTS[:4]:
        examples = json.dumps([each.text for each in bundled() if each.intent == name][:12], ensure_ascii=False)
        text += f'\n[intents.{name}]\nmodels = ["small", "big"]\nexamples = {examples}\n'
        text += "" if name == "general_chat" else f"floor = {floor}\n"
        text += rows if name == "math" else ""
    return text


_KEYS = (
    "fallback", "by", "judge", "error", "explore", "explored_share", "cost", "half_life_days", "models", "adapter",
    "floor", "task", "needs", "budget_ms", "examples", "capabilities", "flor", '"a b"', "intents", "a.b", "'x'",
)  # fmt: skip
_VALUES = (
    '"general_chat"', '"math"', '"a"', '"ngrams"', '"labels"', "0", "0.5", "-1", "1e400", "nan", "inf", "true", "[]",
    '["small"]', '["small", "big",\n "big"]', '["a", 1]', "{}", '{ x = 1 }', '"bundled:math"', '"bundled:nothing"',
    '"no/such/file"', '"' + "0a" * 32 + '"', "1979-05-27", "'''\nlong\n'''", '"""\ntext\\"""" ',
    '["a", "b", "c", "d", "e"]',
    '["f", "g", "h", "i", "j",\n# what for\n"k"]', "[[1]]", "9" * 5000, "[" * 600 + "]" * 600, '"\\u0000"', '"é"', '"',
    "", "= 3", "0x1G", "2024-13-01",
)  # fmt: skip
_LINES = (
    "[intents.math]", "[intents.history]", "[intents]", "[models.small]", '[intents."a b"]', "[[intents.math]]",
    "# note", "", "[", "]", "\x00", "\ufeff", "[intents.math", "intents.math.floor = 0.2", "[models]", "\r",
    "garbage", "é = 1",
)  # fmt: skip


def random_registry(chance: random.Random) -> bytes:
    """A good registry with some lines replaced, removed, doubled or added; now and then bytes that are no text."""
    lines = registry(chance.choice((0.0, 0.5, 1.0))).split("\n")
    for _ in range(chance.choice((0, 1, 1, 2, 3, 6))):
        place = chance.randrange(len(lines))
        kind = chance.randrange(5)
        if kind == 0:
            del lines[place]
        elif kind == 1:
            lines.insert(place, lines[chance.randrange(len(lines))])
        elif kind == 2:
            lines.insert(place, chance.choice(_LINES))
        else:
            lines[place] = f"{chance.choice(_KEYS)} = {chance.choice(_VALUES)}"
        lines = lines or [""]
    raw = "\n".join(lines).encode("utf-8", "surrogatepass")
    if chance.random() < 0.05:
        place = chance.randrange(len(raw) + 1)
        raw = raw[:place] + bytes(chance.randrange(256) for _ in range(3)) + raw[place:]
    return raw
