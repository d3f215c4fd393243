"""Compose the corpus: deterministic from a seed, no downloads, all text original.

A document is one JSON line: its family and its parts, each part a text and whether the model is trained to write it.
Held-out material differs by seed and by content: one key in ten (a pair of operands, a pair of hero and thing,
a component with its two subjects, ...) never occurs in training.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import stories
import tasks
from tasks import Case

END, TURN, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SYSTEMS = (
    "You are a helpful assistant.",
    "You are Flyball Demo, a small demonstration model.",
    "Answer briefly.",
    "You answer questions and tell stories.",
)
SHARES = {"plain": 17, "story": 13, "arithmetic": 28, "notes": 11, "risk": 11, "state": 15, "about": 5}
Part = tuple[str, bool]


def is_held_out(key: tuple[Any, ...]) -> bool:
    """One key in ten, by hash, so that the choice never depends on the order of drawing."""
    return hashlib.sha256(repr(key).encode()).digest()[0] < 26


def casual(case: Case, rng: random.Random) -> Case:
    """Some users write without capitals."""
    return replace(case, prompt=case.prompt[:1].lower() + case.prompt[1:]) if rng.random() < 0.15 else case


def render_turn(case: Case) -> list[Part]:
    """One exchange in ChatML."""
    question = f"{TURN}user\n{case.prompt}{TURN_END}\n{TURN}assistant\n"
    return [(question, False), (f"{case.answer}{TURN_END}\n", True)]


def render_chat(cases: list[Case]) -> list[Part]:
    """A conversation; its system message is that of the first case."""
    system = cases[0].system
    parts: list[Part] = [(f"{TURN}system\n{system}{TURN_END}\n", False)] if system else []
    for case in cases:
        parts += render_turn(case)
    return [*parts, (END, True)]


def story_case(rng: random.Random) -> Case:
    """A request for a story about a hero and a thing."""
    hero = stories.draw_hero(rng)
    prompt = tasks.story_request(hero.kind, hero.thing, rng)
    key = ("story", hero.kind, hero.thing)
    return Case("story", key, prompt, stories.tell(hero, rng), {"kind": hero.kind, "thing": hero.thing})


DRAW: dict[str, Callable[[random.Random], list[Case]]] = {
    "plain": lambda rng: [story_case(rng)],
    "story": lambda rng: [story_case(rng)],
    "arithmetic": lambda rng: [tasks.arithmetic_case(rng)],
    "notes": lambda rng: [tasks.note_case(rng)],
    "risk": lambda rng: [tasks.risk_case(rng)],
    "about": lambda rng: [tasks.about_case(rng)],
    "state": lambda rng: tasks.state_session(rng, 1),
}
TURNS = {"plain": (1, 1), "story": (1, 1), "arithmetic": (3, 8), "notes": (1, 3), "risk": (1, 2), "about": (1, 3)}


def draw(family: str, rng: random.Random, held_out: bool) -> list[Case]:
    """One case (for state: one session) on the wanted side of the split; `about` is memorized, never held out."""
    while True:
        cases = tasks.state_session(rng, rng.randint(2, 5)) if family == "state" and not held_out else DRAW[family](rng)
        if family == "about" or is_held_out(cases[0].key) == held_out:
            return cases


def document(rng: random.Random, held_out: bool) -> tuple[str, list[Part]]:
    """A document of one family; one conversation in seven mixes families."""
    family = rng.choices(list(SHARES), list(SHARES.values()))[0]
    if family == "plain":
        return family, [(draw(family, rng, held_out)[0].answer + END, True)]
    cases = draw(family, rng, held_out)
    for _ in range(rng.randint(*TURNS.get(family, (1, 1))) - 1):
        other = rng.choice(("arithmetic", "about", "notes", "risk")) if rng.random() < 0.15 else family
        cases += draw(other, rng, held_out)
    if not cases[0].system and family != "state" and rng.random() < 0.35:
        cases[0] = replace(cases[0], system=rng.choice(SYSTEMS))
    return family, render_chat([casual(case, rng) for case in cases])


def compose(path: Path, count: int, seed: int, held_out: bool) -> None:
    """Write `count` documents as JSON lines."""
    rng = random.Random(seed)
    with path.open("w", encoding="utf-8") as out:
        for _ in range(count):
            family, parts = document(rng, held_out)
            out.write(json.dumps({"family": family, "parts": parts}) + "\n")


def main() -> None:
    """Compose the training and the held-out corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, help="folder for everything that is not committed")
    parser.add_argument("--seed", type=int, default=1788)
    parser.add_argument("--documents", type=int, default=80_000)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    compose(args.work / "train.jsonl", args.documents, args.seed, held_out=False)
    compose(args.work / "heldout.jsonl", 1_500, args.seed + 1, held_out=True)


if __name__ == "__main__":
    main()
