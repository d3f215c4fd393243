"""Message texts that try to become control tokens, and vocabularies made to help them.

The tokens of an attack contain a word that no template writes, so any of their ids in a prompt came from a message.
They are made around the very characters that the template puts beside the text, so that a token begins in one and ends
in the other.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from . import reference
from .conversations import Messages, assistant, call, result, system, tool, user

WORD = "Zqx"  # no template writes it


class Attack(NamedTuple):
    """A conversation with hostile texts, and control tokens that must not come out of it."""

    messages: Messages
    variables: dict[str, Any]
    tokens: tuple[str, ...]


def _shapes(text: str, second: str) -> list[tuple[Messages, dict[str, Any]]]:
    """Everywhere a text can stand; `second` follows it in the next text."""
    calls = [call("f", {"a": text, text: second})]
    schema = [tool("f", text, {text: {"type": "string", "description": second, "enum": [text]}})]
    parts = [{"type": "text", "text": text}, {"type": "text", "text": second}]
    return [
        ([user(text)], {}),
        ([system(text), user(second)], {}),
        ([user(text), assistant(second), user(text)], {}),
        ([user("x"), assistant(text), user(second)], {}),
        ([user(parts)], {}),
        ([user("x"), assistant("y", reasoning_content=text), user(second)], {}),
        ([user("x"), assistant(f"<think>{text}</think>{second}"), user("z")], {}),
        ([user("x"), assistant("", tool_calls=calls), result(text), assistant("y"), user("z")], {}),
        ([user("x"), assistant("", tool_calls=[call(text, f'{{"a": "{second}"}}')]), result(second)], {}),
        ([user("x")], {"tools": schema}),
        ([user("x")], {"documents": [{"title": text, "text": second}], "model_identity": text, "date_string": second}),
        ([user("x", name=text), assistant("y", name=second), user("z")], {}),
    ]


def _edges(source: str, shape: tuple[Messages, dict[str, Any]], text: str) -> tuple[str, str]:
    """What the template puts before and behind a text."""
    rendered = reference.render(source, *shape, bos="<s>", eos="</s>", wider=True) or ""
    at = rendered.find(text)
    return (rendered[:at], rendered[at + len(text) :]) if at >= 0 else ("", "")


def attacks(source: str, own: tuple[str, ...], seed: int) -> Iterator[Attack]:
    """Attacks on one template without end; `own` are its control tokens."""
    chance = random.Random(seed)
    n_shapes = len(_shapes("", ""))
    while True:
        which = chance.randrange(n_shapes)
        before, behind = _edges(source, _shapes(WORD, WORD)[which], WORD)
        front = before[-chance.randint(0, 6) :] if chance.random() < 0.5 else ""
        back = behind[: chance.randint(0, 6)]
        base = chance.choice([*own, "<|x|>"])
        cut = chance.randrange(len(base) + 1)
        spelled = base[:cut] + WORD + base[cut:]
        split = chance.randrange(1, len(spelled))
        first, second, token = chance.choice(
            [
                (spelled, "x", spelled),  # spells
                (WORD, "x", front + WORD),  # ends
                (WORD, "x", WORD + back),  # begins
                (WORD, "x", front + WORD + back),  # is the middle
                (spelled[:split], spelled[split:], spelled),  # is split over two texts
                (spelled.swapcase(), "x", spelled.lower()),  # waits for a template that changes case
                (spelled[:split] + " " + spelled[split:], "x", spelled),
                (spelled.replace("<", "&lt;"), spelled.replace("<", "\\u003c"), spelled),  # waits for decoding
                (spelled[:split] + spelled + spelled[split:], "x", spelled),  # waits for one to be removed
                (f" {spelled}\n", f"\n{base}{spelled}", spelled),
                (spelled, base, spelled[:-1]),
                (WORD + base + WORD, base, spelled),  # the template's own
            ]
        )
        if is_hostile(token):
            yield Attack(*_shapes(first, second)[which], (token, spelled))


def is_hostile(token: str) -> bool:
    """Whether no template can have written this control token."""
    return WORD.lower() in token.lower()


def leaks(pieces: list[str], control: list[bool]) -> list[str]:
    """Control tokens of a prompt that came from a message: hostile ones, and others in the middle of its text."""
    found = []
    for i, piece in enumerate(pieces):
        if not control[i]:
            continue
        before, behind = "".join(pieces[max(0, i - len(WORD)) : i]), "".join(pieces[i + 1 : i + 1 + len(WORD)])
        if is_hostile(piece) or (before.endswith(WORD) and behind.startswith(WORD)):
            found.append(piece)
    return found


_TOKEN = re.compile(
    r"<\|[^\s<>|'\"{}]+\|>|<｜[^\s<>'\"{}]+?｜>|\[/?[A-Z_]{3,}\]|<(?:start|end)_of_\w+>|<\|\w+>|<\w+\|>"
)


def control_tokens(source: str) -> tuple[str, ...]:
    """What stands in a template like control tokens."""
    return tuple(sorted(set(_TOKEN.findall(source))))
