"""Questions about a known passage: half of the answers are in it, and half are not and must be said not to be.

As many of both, so that neither always answering nor never answering passes.
"""

from __future__ import annotations

from typing import NamedTuple

from .checks import Check
from .rules import Rule, n_words
from .text_rules import contains_one, lacks, no_digits, numbers_of

_ASK = "Answer from the passage alone, in a few words. If the passage does not say it, answer: Not in the passage."
_ABSENT = "Not in the passage."
_REFUSALS = (
    "not in the passage",
    "not mentioned",
    "not stated",
    "not given",
    "not say",
    "doesn't say",
    "not specified",
)
_MOST_WORDS = 20  # a copy of the whole passage is no answer


class _Passage(NamedTuple):
    id: str
    text: str
    known: tuple[tuple[str, tuple[str, ...]], ...]  # questions, with the texts one of which the answer must have
    unknown: tuple[str, ...]


_PASSAGES = (
    _Passage(
        "mill",
        "The mill at Dorrow was built in 1846 by Hanna Vell. It ground oats until a flood took its wheel in 1911. Today"
        " it is a museum with four rooms, and a cat named Pim sleeps in the largest one.",
        (("When was the mill built?", ("1846",)), ("What is the cat's name?", ("Pim",))),
        ("How much is a ticket to the museum?", "What was the name of Hanna Vell's mother?"),
    ),
    _Passage(
        "ferry",
        "The ferry Osprey crosses Lake Tarn six times a day from May to September. A crossing takes 35 minutes. Captain"
        " Ines Rold has steered it since 2009. Bicycles travel free; dogs need a leash.",
        (("How long does a crossing take?", ("35", "thirty-five")), ("Who steers the ferry?", ("Rold",))),
        ("How many passengers can the ferry carry?", "In which town does the captain live?"),
    ),
    _Passage(
        "pump",
        "The Kestrel 3 pump moves 40 liters a minute and weighs 9 kilograms. Its filter must be cleaned every 200"
        " hours. The red lamp means that the tank is empty; the green lamp means that it runs.",
        (("What does the red lamp mean?", ("empty",)), ("How much does the pump weigh?", ("9", "nine"))),
        ("What does the pump cost?", "Who invented the pump?"),
    ),
    _Passage(
        "choir",
        "The choir of Lenz meets on Thursdays in the old station. It has 27 singers and was founded by Marta Ahn, a"
        " postwoman. In 2018 it won second prize in Brel with a song about herring.",
        (("On which day does the choir meet?", ("Thursday",)), ("What was the founder's job?", ("postwoman", "post"))),
        ("Who won the first prize?", "What is the name of the choir's youngest singer?"),
    ),
    _Passage(
        "bread",
        "For Orla's rye bread mix 500 grams of rye flour, 350 grams of water and 10 grams of salt. Let the dough rest"
        " for 12 hours in a cool place. Bake it for 55 minutes in a closed pot.",
        (("How much salt is needed?", ("10", "ten")), ("How long does the dough rest?", ("12", "twelve"))),
        ("How many people does the bread serve?", "From whom did Orla learn to bake?"),
    ),
    _Passage(
        "comet",
        "In the novel Blue Comet a gardener named Sefa finds a map in a clock. She sails to the island of Noor with her"
        " brother Tam. There they meet a painter who has lost his shadow.",
        (("Where does Sefa find the map?", ("clock",)), ("What is the name of the island?", ("Noor",))),
        ("In which year was the novel published?", "What is the painter's name?"),
    ),
    _Passage(
        "office",
        "The office in Harl Street opens at 8 and closes at 16. Passports are issued at window 2, parking permits at"
        " window 5. A parking permit costs 30 crowns. On Wednesdays the office is closed.",
        (("Which day is the office closed?", ("Wednesday",)), ("What does a parking permit cost?", ("30", "thirty"))),
        ("What does a passport cost?", "What is the name of the head of the office?"),
    ),
    _Passage(
        "owl",
        "The sand owl of Merrin is 22 centimeters tall and nests in walls. It hunts beetles at dusk. Ranger Yusuf Bey"
        " counted 61 pairs last spring, nine more than the year before.",
        (("What does the sand owl hunt?", ("beetle",)), ("How many pairs were counted?", ("61", "sixty-one"))),
        ("How old can a sand owl become?", "What color are the eggs of the sand owl?"),
    ),
    _Passage(
        "race",
        "The Stag Race leads from Upper Finn to the sea at Gorm, 18 kilometers in all. Lea Moss won it in 74 minutes in"
        " spite of the fog. Each runner carries a bell, and the last one gets a cake.",
        (("Who won the race?", ("Moss",)), ("What does the last runner get?", ("cake",))),
        ("How many runners took part?", "What is Lea Moss's profession?"),
    ),
    _Passage(
        "bridge",
        "The Tollen bridge is made of larch and spans 48 meters. It was closed in March because two beams had cracks."
        " The firm Dask repairs it, and walkers use the ford at Elm Farm until then.",
        (("What is the bridge made of?", ("larch",)), ("Which firm repairs the bridge?", ("Dask",))),
        ("What does the repair cost?", "Who designed the bridge?"),
    ),
)  # fmt: skip


def checks() -> tuple[Check, ...]:
    """The checks of this group."""
    found: list[tuple[str, _Passage, str, tuple[Rule, ...], str]] = []
    for passage in _PASSAGES:
        for i, (question, texts) in enumerate(passage.known, 1):
            rules = (lacks(*_REFUSALS), contains_one(*texts), n_words(1, _MOST_WORDS), numbers_of(passage.text))
            found.append((f"{passage.id}-known-{i}", passage, question, rules, texts[0]))
        for i, question in enumerate(passage.unknown, 1):
            absent = (contains_one(*_REFUSALS), n_words(1, _MOST_WORDS), no_digits())
            found.append((f"{passage.id}-unknown-{i}", passage, question, absent, _ABSENT))
    return tuple(
        Check(f"grounded-{name}", "grounded", f"{passage.text}\n\n{question} {_ASK}", rules, example,
              200_000 + 1000 * i, 48)
        for i, (name, passage, question, rules, example) in enumerate(found)
    )  # fmt: skip
