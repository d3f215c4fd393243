"""What a correction in the prompt does for a model: python -m tests.python.memory.measure_examples [MODEL]

Questions are subtractions of the bundled model's task that it gets wrong. Half of them are corrected and in the cache,
the others are held out. Printed are right answers of both, and of questions that were right without the cache.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence

import flyball
from flyball.constraints.constraint import Constraint
from flyball.memory import Example, Recalled
from flyball.memory.examples import Chosen, choose

FORMS = ("What is {a} - {b}?", "Calculate {a} - {b}", "How much is {a} minus {b}?", "Work out {a}-{b}")
N_QUESTIONS, SEED = 500, 7


def questions() -> list[Example]:
    """Subtractions as the bundled model was trained on, each with the answer that it was taught."""
    pairs = [(a, b) for a in range(20, 100) for b in range(2, a)]
    random.Random(SEED).shuffle(pairs)
    return [
        Example(str(n), FORMS[n % len(FORMS)].format(a=a, b=b), f"{a} - {b} = {a - b}.")
        for n, (a, b) in enumerate(pairs[:N_QUESTIONS])
    ]


def is_right(model: flyball.Model, asked: Example, chosen: Chosen, holds: bool = False) -> bool:
    """Whether the likeliest answer is right; `holds`: one to a corrected question is held to that, as it is served."""
    shown = Recalled(examples=tuple((each.question, each.right) for each in chosen.examples))
    messages = shown.into([{"role": "user", "content": asked.question}])
    only = Constraint.choice([chosen.examples[-1].right]) if holds and chosen.repeats else None
    result = model.generate(model.chat_format().ids(messages), 24, temperature=0, constraint=only)
    return result.text.strip() == asked.right


def count(model: flyball.Model, asked: Sequence[Example], cache: Sequence[Example], most: int, holds: bool) -> int:
    """Right answers."""
    return sum(is_right(model, each, choose(each.question, cache, most, lambda _: True), holds) for each in asked)


def main(path: str) -> None:
    """Measure, and print a table."""
    with flyball.Model.load(path, threads=1) as model:
        known = {asked.id: is_right(model, asked, Chosen()) for asked in questions()}
        wrong = [asked for asked in questions() if not known[asked.id]]
        right = [asked for asked in questions() if known[asked.id]]
        corrected, held_out, kept = wrong[::2], wrong[1::2], right[:50]
        print(f"{len(wrong)} of {N_QUESTIONS} wrong; {len(corrected)} corrected, {len(held_out)} held out")
        print("examples  corrected, free  corrected, held to it  held out  were right before")
        for most in (0, 1, 2, 4):
            cells = [
                f"{count(model, asked, corrected, most, holds)}/{len(asked)}"
                for asked, holds in ((corrected, False), (corrected, True), (held_out, True), (kept, True))
            ]
            print(f"{most:8}  {cells[0]:>15}  {cells[1]:>21}  {cells[2]:>8}  {cells[3]:>17}")
        one = corrected[:1]
        print(f"after one correction: held out {count(model, held_out, one, 1, True)}/{len(held_out)}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else str(flyball.demo_model_path()))
