"""The templates of many models: equal to Jinja as transformers sets it up, and deaf to control tokens in messages.

    python -m tests.python.templates.template_matrix [--attacks N] [--table] [TEMPLATE ...]

The templates lie in the source distribution of llama-cpp-python, which is fetched once. Each renders every
conversation: the text must be that of the reference, and the ids those of that text with its control tokens parsed, in
the vocabulary that knows most of the template's control tokens and in one that knows them all. Where the reference
refuses, so must Flyball, but for what it has besides (`from_json`, changes to the template's own lists). Then hostile
messages are sent: no control token may come from one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import flyball
from flyball.templates.template import ChatTemplate
from tests.python.engine import vocabularies

from . import reference
from .attacks import attacks, control_tokens, leaks
from .conversations import Conversation, conversations
from .vocabulary import write_vocabulary

N_ATTACKS = 10_000
FIRST_CHARACTER = 1 << 20  # ids of the tokenizer for attacks: control tokens below, characters from here on


@dataclass
class Row:
    """What became of one template's conversations and attacks."""

    template: str
    conversations: int = 0
    equal: int = 0
    beyond: int = 0  # equal to the reference with from_json and changes to own lists
    refused: int = 0  # by both
    attacks: int = 0
    leaked: int = 0
    wrong: list[str] = field(default_factory=list)

    def counts(self) -> list[int]:
        return [getattr(self, name) for name in COLUMNS]


COLUMNS = [f.name for f in fields(Row)][1:-1]


class Vocabulary:
    """A vocabulary, and prompts by its tokenizer alone."""

    def __init__(self, model: flyball.Model) -> None:
        self.model = model
        self.controls = {text.decode("utf-8", "replace") for _, text in model._core.control_tokens()}

    def ids(self, text: str) -> list[int]:
        """The ids of a rendered prompt with control tokens parsed, and the first token that the vocabulary asks for."""
        ids = self.model.tokenize(text, add_special=False, parse_special=True)
        info = self.model.info
        return [info.bos, *ids] if info.add_bos and ids[:1] != [info.bos] else ids

    @cache  # noqa: B019  # one template at a time
    def template(self, source: str) -> ChatTemplate:
        return self.model.chat_template(source)

    def piece(self, token: int) -> str:
        return self.model.detokenize([token], special=True) if token >= 0 else ""


@cache
def _real_vocabularies() -> list[Vocabulary]:
    names = ("qwen2", "llama-bpe", "command-r", "deepseek-llm", "phi-3", "llama-spm", "qwen35")
    return [Vocabulary(flyball.Model.load(vocabularies.path(name), vocab_only=True)) for name in names]


def vocabularies_of(source: str) -> Iterator[Vocabulary]:
    """The real vocabulary that knows most control tokens of a template, and one that knows them all."""
    own = control_tokens(source)
    yield max(_real_vocabularies(), key=lambda vocabulary: sum(token in vocabulary.controls for token in own))
    with tempfile.TemporaryDirectory() as folder:
        path = write_vocabulary(Path(folder) / "own.gguf", [t for t in own if t not in ("<s>", "</s>")])
        yield Vocabulary(flyball.Model.load(path, vocab_only=True))


def compare(row: Row, source: str, known: list[Vocabulary], cases: list[Conversation]) -> None:
    """Render every conversation here and by the reference, and compare texts and ids in each vocabulary."""
    for case in cases:
        row.conversations += 1
        outcomes = {_outcome(source, vocabulary, case) for vocabulary in known}
        outcome = outcomes.pop() if len(outcomes) == 1 else str(outcomes)
        if outcome in COLUMNS:
            setattr(row, outcome, getattr(row, outcome) + 1)
        else:
            row.wrong.append(f"{case.name}: {outcome}")


def _outcome(source: str, vocabulary: Vocabulary, case: Conversation) -> str:
    """The column of a row, or what is wrong."""
    _, messages, variables = case
    info = vocabulary.model.info
    render = partial(
        reference.render, source, messages, variables, bos=vocabulary.piece(info.bos), eos=vocabulary.piece(info.eos)
    )
    strict = render()
    try:
        template = vocabulary.template(source)
        text = template.render(messages, **variables)
        ids = template.ids(messages, **variables)
    except flyball.Error as error:
        return "refused" if strict is None else f"refused, {error}"
    expected = render(wider=True) if strict is None else strict
    if text != expected:
        return difference(text, expected)
    if ids != vocabulary.ids(text):
        return "other ids"
    return "beyond" if strict is None else "equal"


def difference(text: str, expected: str | None) -> str:
    """Where two texts part."""
    if expected is None:
        return "the reference refuses"
    at = next(
        (i for i, (a, b) in enumerate(zip(text, expected, strict=False)) if a != b), min(len(text), len(expected))
    )
    return f"{text[at - 20 : at + 40]!r} instead of {expected[at - 20 : at + 40]!r}"


def attack(row: Row, source: str, count: int, seed: int) -> None:
    """Send hostile messages. The vocabulary has the tokens of all attacks at once."""
    own = control_tokens(source)
    sent = list(islice(attacks(source, own, seed), count))
    names = sorted({"<s>", "</s>", *own, *(token for one in sent for token in one.tokens)})
    control = {name: i for i, name in enumerate(names)}
    template = ChatTemplate(source, characters, control, bos="<s>", eos="</s>")
    for number, one in enumerate(sent):
        row.attacks += 1
        text = reference.render(source, one.messages, one.variables, bos="<s>", eos="</s>", wider=True)
        try:
            ids = template.ids(one.messages, **one.variables)
        except flyball.Error:
            if reference.render(source, one.messages, one.variables, bos="<s>", eos="</s>") is not None:
                row.wrong.append(f"attack {number}: refused")
            continue
        pieces = [names[i] if i < FIRST_CHARACTER else chr(i - FIRST_CHARACTER) for i in ids]
        if "".join(pieces) != text:
            row.wrong.append(f"attack {number}: {difference(''.join(pieces), text)}")
        found = leaks(pieces, [i < FIRST_CHARACTER for i in ids])
        if found:
            row.leaked += 1
            row.wrong.append(f"attack {number}: {found} from {one.messages} {one.variables}")


def characters(text: str, parse_special: bool = False) -> list[int]:
    """A tokenizer of single characters, which parses nothing."""
    return [FIRST_CHARACTER + ord(character) for character in text]


def measure(name: str, source: str, n_attacks: int, seed: int = 0, cases: list[Conversation] | None = None) -> Row:
    """Everything about one template."""
    row = Row(name)
    compare(row, source, list(vocabularies_of(source)), cases or conversations())
    attack(row, source, n_attacks, seed)
    return row


def table(rows: list[Row]) -> str:
    """As docs/templates.md has it."""
    lines = ["| template | " + " | ".join(COLUMNS) + " |", "|---|" + "--:|" * len(COLUMNS)]
    total: list[Any] = [sum(column) for column in zip(*(row.counts() for row in rows), strict=True)]
    for name, counts in [*((row.template, row.counts()) for row in rows), (f"**all {len(rows)}**", total)]:
        lines.append(f"| {name} | " + " | ".join(f"{count:,}" for count in counts) + " |")
    return "\n".join(lines)


def main() -> int:
    """Print a line for each template; exit code 0 when all hold, 1 when one does not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("only", nargs="*", metavar="TEMPLATE", help="part of a name")
    parser.add_argument("--attacks", type=int, default=N_ATTACKS, metavar="N", help=f"on all templates ({N_ATTACKS})")
    parser.add_argument("--table", action="store_true", help="print a table at the end")
    args = parser.parse_args()
    paths = [p for p in vocabularies.templates() if not args.only or any(part in p.stem for part in args.only)]
    rows = []
    for number, path in enumerate(paths):
        share = args.attacks // len(paths) + (number < args.attacks % len(paths))
        row = measure(path.stem, path.read_text(encoding="utf-8"), share, seed=number)
        print(
            f"{row.template:60}",
            *(f"{n} {count:4} " for n, count in zip(COLUMNS, row.counts(), strict=True)),
            flush=True,
        )
        print("".join(f"    {line[:400]}\n" for line in row.wrong[:20]), end="", flush=True)
        rows.append(row)
    wrong = sum(bool(row.wrong) for row in rows)
    print(f"\n{len(rows)} templates, {wrong} do not hold")
    if args.table:
        print(table(rows))
    return 1 if wrong or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
