"""Replay: the base's own answers to other questions, which training shall leave as they are.

The questions are the model's own: what it writes where a user's message begins in its chat template. So replay needs no
data, and its questions are spread as those that the model was made for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from ..engine.model import Model
from ..errors import InvalidArgument
from .rows import Row

_TRIES = 8  # questions drawn for one that is new, ends, and has an answer that ends
_MOST_QUESTION_TOKENS = 128


def replay(
    model: Model,
    n: int,
    longest: int,
    seed: int,
    known: Collection[tuple[int, ...]],
    progress: Callable[[str, int, int], object],
) -> list[Row]:
    """`n` rows, the same for the same model and seed; prompts in `known` are not asked. Raises InvalidArgument."""
    if not n:
        return []
    if not model.info.chat_template:
        raise InvalidArgument(
            "replay", "needs a chat template, which the model has not; give 0, or replay rows as data"
        )
    form = model.chat_format()
    opening = _common([form.ids([{"role": "user", "content": text}]) for text in ("a", "Z")])
    rows: list[Row] = []
    asked = set(known)
    for number in range(_TRIES * n):
        if len(rows) == n:
            break
        drawn = model.generate(opening, _MOST_QUESTION_TOKENS, temperature=1.0, seed=seed + number)
        if drawn.stop_reason != "eos" or not drawn.text.strip():
            continue
        prompt = tuple(form.ids([{"role": "user", "content": drawn.text.strip()}]))
        if prompt in asked or len(prompt) >= longest:
            continue
        asked.add(prompt)
        answer = model.generate(prompt, longest - len(prompt), temperature=0.0)
        if answer.stop_reason == "eos":
            rows.append(Row(f"replay {number}", "replay", 1.0, prompt, tuple(answer.tokens), None))
            progress("replay", len(rows), n)
    if len(rows) < n:
        what = f"found {len(rows)} questions whose answers end within {longest} tokens, {n} were asked for; give fewer"
        raise InvalidArgument("replay", what)
    return rows


def _common(lists: list[list[int]]) -> list[int]:
    """What the lists begin with alike."""
    n = next((i for i, tokens in enumerate(zip(*lists, strict=False)) if len(set(tokens)) > 1), min(map(len, lists)))
    return lists[0][:n]
