"""Prompts that a body gives as text, as token ids, or as both: one, or a list of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from .bodies import Body

if TYPE_CHECKING:
    from .models import Served

_INLINE_CHARACTERS = 4096  # longer texts are made in a thread, beside which the event loop goes on
_FORMS = "must be text, token ids, or a list of either"


async def prompts_of(
    served: Served, body: Body, name: str, most: int, *, parse_special: bool = False
) -> tuple[list[list[int]], bool]:
    """The ids of a member's prompts, and whether it is a list of them. A list with a number in it is one prompt.

    parse_special  control tokens in texts become tokens: for prompts that a program has made from a template
    """
    given = body.get(name)
    many = isinstance(given, list) and not any(type(each) is int for each in given)
    listed = given if many else [given]
    if not isinstance(listed, list) or not listed or given is None:
        body.refuse(name, _FORMS)
    if len(listed) > most:
        body.refuse(name, f"has {len(listed)} entries, at most {most}")
    if sum(map(_length, listed)) <= _INLINE_CHARACTERS:
        return _all(served, body, name, listed, parse_special), many
    return await asyncio.to_thread(_all, served, body, name, listed, parse_special), many


def _all(served: Served, body: Body, name: str, listed: list[Any], parse_special: bool) -> list[list[int]]:
    return [_one(served, body, f"{name}[{number}]", one, parse_special) for number, one in enumerate(listed)]


def _one(served: Served, body: Body, place: str, given: object, parse_special: bool) -> list[int]:
    parts = given if isinstance(given, list) else [_text(body, place, given)]
    ids: list[int] = []
    for number, part in enumerate(parts):
        if type(part) is int:
            ids.append(_token(served, body, place, part))
        elif isinstance(part, str):
            ids += served.model.tokenize(part, add_special=number == 0, parse_special=parse_special)
        else:
            body.refuse(place, _FORMS)
    if not ids:
        body.refuse(place, "is empty; give at least one token")
    return ids


def _token(served: Served, body: Body, place: str, token: int) -> int:
    n_vocab = served.model.info.n_vocab
    if not 0 <= token < n_vocab:
        body.refuse(place, f"has the id {token}, this model has {n_vocab} tokens: ids of another mean nothing here")
    return token


def _text(body: Body, place: str, given: object) -> str:
    """Text in any of the forms that llama-server's clients give it."""
    if isinstance(given, dict) and not given.get("multimodal_data"):
        if isinstance(parts := given.get("content"), list) and parts:
            return "".join(_part(body, place, part) for part in parts)
        given = given.get("prompt_string")
    if not isinstance(given, str):
        body.refuse(place, _FORMS)
    return given


def _part(body: Body, place: str, part: object) -> str:
    if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
        body.refuse(place, 'has parts that are no {"type": "text", "text": ...}')
    return str(part["text"])


def _length(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    return sum(map(_length, value)) if isinstance(value, list) else 8
