"""The named scenarios: what people really run, with fixed texts, seeds and forms, sized to the model's context."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..constraints.constraint import Constraint
from ..engine.model import Model
from ..errors import ContextFull, InvalidArgument, Unsupported
from . import texts

_MOST_CONTEXT = 4096  # tokens of the longest prompt, so that a large context does not make a scenario take hours

ORDER = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 24},
        "town": {"type": "string", "maxLength": 24},
        "order": {"type": "integer", "minimum": 0, "maximum": 99999},
    },
    "required": ["name", "town", "order"],
    "additionalProperties": False,
}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a town.",
        "parameters": {
            "type": "object",
            "properties": {"town": {"type": "string", "maxLength": 24}, "unit": {"enum": ["celsius", "fahrenheit"]}},
            "required": ["town", "unit"],
            "additionalProperties": False,
        },
    },
}
LABELS = ("praise", "complaint", "question")


@dataclass(frozen=True)
class Scenario:
    """`turns`: what the user says, each after the answer before; `clients`: what each of several users says at once.

    `document`: paragraphs before the first turn, as many as fit; `fill`: repeated until they fill the context.
    `form`: of the answer: "", json, call or label.
    """

    name: str
    about: str
    turns: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    document: tuple[str, ...] = ()
    fill: bool = False
    form: str = ""
    max_tokens: int = 48
    temperature: float = 0.0
    seed: int = 7

    @property
    def sha256(self) -> str:
        """Identifies texts and settings: runs of another definition are not comparable."""
        forms = {"json": ORDER, "call": TOOL, "label": LABELS}
        text = json.dumps([asdict(self), forms.get(self.form)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


_ALL = (
    Scenario("short-question", "one short question, one short answer", ("What is 3 plus 4?",)),
    Scenario(
        "page-summary",
        "summary of a page of text",
        ("Summarize this page in one sentence.",),
        document=texts.PAGE,
        max_tokens=64,
    ),
    Scenario(
        "json-extraction",
        "facts of a letter as JSON under a schema",
        ("Extract name, town and order number as JSON.",),
        document=(texts.LETTER,),
        form="json",
        max_tokens=96,
    ),
    Scenario(
        "tool-call",
        "one call of a tool with checked arguments",
        ("What is the weather in Norwick in celsius?",),
        form="call",
        max_tokens=96,
    ),
    Scenario("multi-turn-chat", "a chat of three turns in one session", texts.TURNS, temperature=0.8),
    Scenario(
        "retrieval-answer",
        "an answer from three retrieved passages",
        ("Use only the passages. When does the ferry leave?",),
        document=texts.PASSAGES,
    ),
    Scenario(
        "classification",
        "one of three labels for a review",
        ("Is this praise, a complaint or a question?",),
        document=(texts.REVIEW,),
        form="label",
        max_tokens=8,
    ),
    Scenario(
        "code-completion", "the rest of a Python function", ("Complete this function:\n" + texts.CODE,), max_tokens=64
    ),
    Scenario(
        "long-document",
        "a question about a text that fills the context",
        ("Who reads the wind?",),
        document=texts.PAGE,
        fill=True,
        max_tokens=32,
    ),
    Scenario("eight-clients", "eight users who ask at the same time", clients=texts.CLIENTS, temperature=0.8),
    Scenario("free-writing", "a story of up to 128 tokens", ("Tell me a story.",), max_tokens=128, temperature=0.8),
)
SCENARIOS: Mapping[str, Scenario] = {scenario.name: scenario for scenario in _ALL}


def named(name: str) -> Scenario:
    """The scenario of that name."""
    if name not in SCENARIOS:
        raise InvalidArgument("scenario", f"is {name!r}, must be one of: {', '.join(SCENARIOS)}")
    return SCENARIOS[name]


@dataclass(frozen=True)
class Prepared:
    """A scenario for one model. `first`: the user's first text, with the document; `prompts`: token ids of the first
    texts, one for each client."""

    scenario: Scenario
    first: str
    prompts: tuple[tuple[int, ...], ...]
    constraint: Constraint | None
    tools: tuple[Mapping[str, Any], ...]


def prepare(scenario: Scenario, model: Model) -> Prepared:
    """Size the prompts to the model's context, and compile the form of the answer."""
    form = model.chat_format()
    constraint: Constraint | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    before = ""
    if scenario.form == "call":
        try:
            constraint, tools = form.calls([TOOL], one=True), (TOOL,)
        except Unsupported:  # no writing of calls in its template: the call is plain JSON, its schema in the prompt
            before, constraint = f"Tool: {json.dumps(TOOL['function'])}\n", Constraint.json_schema(call_schema())
    elif scenario.form == "json":
        constraint = Constraint.json_schema(ORDER)
    elif scenario.form == "label":
        constraint = Constraint.choice(LABELS)
    context = min(model.session().context, _MOST_CONTEXT)
    variables = {"tools": list(tools)} if tools else {}

    def ids(text: str) -> list[int]:
        return form.ids([{"role": "user", "content": text}], **variables)

    texts_asked = scenario.clients or (_fitting(scenario, before, ids, context - scenario.max_tokens),)
    prompts = tuple(tuple(ids(text)) for text in texts_asked)
    if constraint is not None:
        constraint = form.constrained(constraint, prompts[0])  # after the thoughts, where the model has any
        model.compile(constraint)
    return Prepared(scenario, texts_asked[0], prompts, constraint, tools)


def call_schema() -> dict[str, Any]:
    """Of a call as plain JSON, for models whose template has no calls."""
    function: Mapping[str, Any] = TOOL["function"]  # type: ignore[assignment]
    return {
        "type": "object",
        "properties": {"name": {"enum": [function["name"]]}, "arguments": function["parameters"]},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _fitting(scenario: Scenario, before: str, ids: Callable[[str], Sequence[int]], room: int) -> str:
    """The first text with as many paragraphs of the document as fit into `room` tokens."""

    def text(paragraphs: Sequence[str]) -> str:
        return before + "\n".join([*paragraphs, scenario.turns[0]])

    kept: list[str] = []
    while scenario.document and (scenario.fill or len(kept) < len(scenario.document)):
        more = [*kept, scenario.document[len(kept) % len(scenario.document)]]
        if len(ids(text(more))) > room:
            break
        kept = more
    if len(ids(text(kept))) > room or (scenario.document and not kept):
        raise ContextFull(scenario.name, f"does not fit into the {room} tokens that the model's context leaves")
    return text(kept)
