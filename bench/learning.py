"""What corrections teach the bundled model, and what they cost.

Mistakes of its own in subtraction are trained on, others held out, and its answers to other questions should stay.

A row for each recipe and seed; the seed draws the questions, too. Answers are greedy, and Flyball's own.

    python -m bench.learning [--seeds 1 2 3] [RECIPE ...]

RECIPE is like method=dpo,rate=0.001,steps=60: fields of flyball.train.recipe.Recipe; without any, the default one.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import flyball
from flyball.train.examples import Example
from flyball.train.recipe import Recipe
from flyball.train.run import Run

sys.path.append(str(Path(__file__).parents[1] / "ops" / "demo_model"))

import compose
import tasks

N = 24
_OTHERS = {"subtraction, right": N, "arithmetic": 24, "notes": 24, "risk": 24, "state": 24, "about": 24}
_FREE = "risk"  # its cards have made-up numbers and choices, between which next to nothing decides
_MOST_ANSWER_TOKENS = 100


def messages(case: tasks.Case) -> list[dict[str, str]]:
    """What is asked."""
    system = [{"role": "system", "content": case.system}] if case.system else []
    return [*system, {"role": "user", "content": case.prompt}]


class Answers:
    """The model's greedy answers, with an adapter or without."""

    def __init__(self, model: flyball.Model) -> None:
        self._model = model
        self._form = model.chat_format()

    def __call__(self, case: tasks.Case, adapter: flyball.Adapter | None = None) -> str:
        ids = self._form.ids(messages(case))
        return self._model.generate(ids, _MOST_ANSWER_TOKENS, temperature=0.0, adapter=adapter).text


@dataclass(frozen=True)
class Questions:
    """Mistakes to train on, mistakes held out, and other questions by family."""

    trained: list[tasks.Case]
    held_out: list[tasks.Case]
    others: Mapping[str, list[tasks.Case]]

    @classmethod
    def draw(cls, answers: Answers, seed: int) -> Questions:
        """Subtractions are asked for in one wording, a family, and no two have the same numbers."""
        rng = random.Random(seed)
        sides: dict[bool, list[tasks.Case]] = {True: [], False: []}
        seen = set()
        while len(sides[False]) < 2 * N or len(sides[True]) < N:
            case = tasks.arithmetic_case(rng)
            if case.key[0] == "sub" and case.key not in seen:
                seen.add(case.key)
                case = replace(case, prompt=f"What is {case.key[1]} - {case.key[2]}?")
                sides[answers(case) == case.answer].append(case)
        others = {"subtraction, right": sides[True][:N]}
        for family, n in list(_OTHERS.items())[1:]:
            drawn = (compose.draw(family, rng, held_out=False)[0] for _ in range(100 * n))
            others[family] = [case for case in drawn if case.key[0] != "sub"][:n]
        return cls(sides[False][:N], sides[False][N : 2 * N], others)


@dataclass(frozen=True)
class Outcome:
    """Right answers of N trained and N held-out questions, and others that are as before, by family."""

    trained: int
    held_out: int
    kept: Mapping[str, int]
    cpu_s: float

    @property
    def share_kept(self) -> float:
        """Of the others that have one answer."""
        sums = [sum(n for family, n in each.items() if family != _FREE) for each in (self.kept, _OTHERS)]
        return sums[0] / sums[1]


def learn(model: flyball.Model, answers: Answers, questions: Questions, recipe: Recipe, out: Path) -> Outcome:
    """Train, and ask everything again."""
    start = time.process_time()
    data = [
        Example.of(
            {"id": str(i), "messages": messages(case), "answer": case.answer, "rejected": answers(case),
             "kind": "correction"}, f"case {i}",
        )
        for i, case in enumerate(questions.trained)
    ]  # fmt: skip
    run = Run(model, data, [], recipe, out)
    run.train(lambda step, loss: None, lambda: False)
    adapter = model.load_adapter(run.finish().folder / "adapter.gguf")
    cpu_s = time.process_time() - start

    def right(cases: Sequence[tasks.Case]) -> int:
        return sum(answers(case, adapter) == case.answer for case in cases)

    kept = {
        family: sum(answers(case, adapter) == answers(case) for case in cases)
        for family, cases in questions.others.items()
    }
    return Outcome(right(questions.trained), right(questions.held_out), kept, cpu_s)


def recipe_of(words: str, seed: int) -> Recipe:
    """From NAME=VALUE,..."""
    kinds = {field.name: type(getattr(Recipe, field.name)) for field in fields(Recipe)}
    given: dict[str, Any] = {"seed": seed}
    for word in filter(None, words.split(",")):
        name, _, value = word.partition("=")
        given[name] = kinds[name](value)
    return Recipe(**given)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the rows, and of each recipe the medians."""
    parser = argparse.ArgumentParser(prog="python -m bench.learning", description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=[""], metavar="RECIPE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    args = parser.parse_args(argv)
    heads = ("recipe", "seed", f"trained, right of {N}", f"held out, right of {N}", "others kept", *_OTHERS, "CPU s")
    print(f"| {' | '.join(heads)} |")
    print("|---" * len(heads) + "|")
    with flyball.Model.load(flyball.demo_model_path(), threads=1) as model, tempfile.TemporaryDirectory() as folder:
        answers = Answers(model)
        asked = {seed: Questions.draw(answers, seed) for seed in args.seeds}
        for words in args.recipes:
            found = []
            for seed, questions in asked.items():
                one = learn(model, answers, questions, recipe_of(words, seed), Path(folder))
                found.append(one)
                cells = [
                    one.trained,
                    one.held_out,
                    f"{100 * one.share_kept:.1f} %",
                    *one.kept.values(),
                    f"{one.cpu_s:.0f}",
                ]
                print(f"| {words or 'default'} | {seed} | {' | '.join(map(str, cells))} |", flush=True)
            held_out = statistics.median(one.held_out for one in found)
            kept = statistics.median(one.share_kept for one in found)
            print(f"median: {held_out:g} held out right, {100 * kept:.1f} % kept", flush=True)


if __name__ == "__main__":
    main()
