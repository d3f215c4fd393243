"""The record of a pilot: every turn and every call, as a file that the stub replays and that can be judged again.

schema 1, kind "pilot": {schema, kind, version, build, machine, time, tag, mode, scene, seed, random_choice, start,
llm_profile, llm_variants, llm_cache_prefetch, models, replayed, turns, summary}; `summary` is what the rest gives.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import files
from ..bench.fields import SCHEMA, Fields, dump
from ..paths import AnyPath
from ..scorecard.subjects import About
from .agents import NAMES
from .scene import State
from .split import Split, milliseconds
from .verdict import Decision, decide

MODES = ("live", "stub")
RECEIPTS = "receipts"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST_TURNS = 100_000


@dataclass(frozen=True)
class Call:
    """An agent's call of its model. `question`: SHA-256 of it; `usable`: whether the answer fits the schema.

    `digest`: of the answer's receipt, None if there is none.
    """

    agent: str
    variant: str
    question: str
    text: str
    usable: bool
    tokens: int | None
    latency_ms: float
    split: Split
    digest: str | None


@dataclass(frozen=True)
class SafeCall:
    """A call of a safe function: JSON texts of what went in and out; `refused`: why it was not run, or ""."""

    function: str
    input: str
    output: str
    refused: str
    ms: float


@dataclass(frozen=True)
class Turn:
    """A turn. `map_fn_latency_ms`: from the question to the map helper to the output of the function that it chose.

    `snapshot_batch_ms`: writing the state; `conflicts`: of micro-actions; `split`: of turn_duration_ms.
    """

    turn: int
    choice: str
    turn_duration_ms: float
    map_fn_latency_ms: float
    snapshot_batch_ms: float
    conflicts: int
    share_card: bool
    split: Split
    safe: SafeCall
    calls: tuple[Call, ...]


@dataclass(frozen=True)
class Profile:
    """Which model each agent asks, and what was read of its file before the first turn.

    `prefetch`: by variant, bytes read of its file or packed copy; empty if there was nothing to read.
    """

    name: str
    variants: Mapping[str, str]
    prefetch: Mapping[str, int]


@dataclass(frozen=True)
class Record:
    """A pilot. `start`: the state before its first turn; `replayed`: SHA-256 of the record that a stub replayed."""

    version: str
    build: str
    machine: str
    time: float
    tag: str
    mode: str
    scene: str
    seed: int
    random_choice: bool
    start: State
    profile: Profile
    models: Mapping[str, About]
    replayed: str
    turns: tuple[Turn, ...]

    @property
    def decision(self) -> Decision:
        """The verdict that the turns give."""
        return decide(
            [turn.turn_duration_ms for turn in self.turns],
            [turn.map_fn_latency_ms for turn in self.turns],
            [turn.conflicts for turn in self.turns],
        )

    @property
    def calls(self) -> dict[tuple[int, str], Call]:
        """By turn and agent."""
        return {(turn.turn, call.agent): call for turn in self.turns for call in turn.calls}

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        from .report import summary

        profile = self.profile
        found = {"schema": SCHEMA, "kind": "pilot"} | asdict(self)
        del found["profile"]
        found["llm_profile"], found["llm_variants"] = profile.name, dict(profile.variants)
        found["llm_cache_prefetch"] = dict(profile.prefetch)
        return found | {"summary": summary(self)}

    def save(self, path: AnyPath) -> Path:
        """Write it atomically."""
        return files.write(path, dump(self.as_dict()))

    @classmethod
    def load(cls, path: AnyPath) -> Record:
        """Read a file (untrusted). Raises FormatError, also if its verdict is not what its turns give."""
        found = Fields.read(path, "pilot")
        mode = found.text("mode")
        if mode not in MODES:
            found.wrong("mode", f"is {mode[:40]!r}, must be live or stub")
        prefetch = found.sub("llm_cache_prefetch")
        models = found.sub("models")
        models.only(*NAMES)
        record = cls(
            version=found.text("version"),
            build=found.text("build"),
            machine=found.text("machine"),
            time=found.positive("time"),
            tag=found.text("tag"),
            mode=mode,
            scene=_sha256(found, "scene"),
            seed=found.integer("seed"),
            random_choice=found.flag("random_choice"),
            start=State.of(found.sub("start")),
            profile=Profile(
                found.text("llm_profile"),
                _of_agents(found.sub("llm_variants")),
                {name: prefetch.integer(name) for name in prefetch.names()},
            ),
            models={name: _about(models.sub(name)) for name in NAMES},
            replayed=_sha256(found, "replayed") if found.text("replayed") else "",
            turns=tuple(_turn(item) for item in found.items("turns")),
        )
        numbers = [turn.turn for turn in record.turns]
        first = record.start.turn + 1
        if not 1 <= len(numbers) <= _MOST_TURNS or numbers != list(range(first, first + len(numbers))):
            found.wrong("turns", f"must be turn {first} and those after it, none twice")
        said = found.sub("summary").text("verdict")
        if said != record.decision.verdict:
            found.wrong("summary", f"says {said[:20]!r}, but the turns give {str(record.decision.verdict)!r}")
        return record


def receipt_file(digest: str) -> str:
    """Where the receipt of an answer is, beside the record."""
    return f"{RECEIPTS}/{digest[:16]}.json"


def _of_agents(found: Fields) -> dict[str, str]:
    found.only(*NAMES)
    return {name: found.text(name, empty=False) for name in NAMES}


def _about(found: Fields) -> About:
    return About(
        name=found.text("name"),
        quantization=found.text("quantization"),
        parameters=found.integer("parameters") if found.has("parameters") else None,
        fingerprint=found.text("fingerprint"),
        place=found.text("place"),
        note=found.text("note"),
    )


def _turn(found: Fields) -> Turn:
    safe = found.sub("safe")
    calls = tuple(_call(item) for item in found.items("calls"))
    if tuple(call.agent for call in calls) != NAMES:
        found.wrong("calls", f"must be one of each agent: {', '.join(NAMES)}")
    return Turn(
        turn=found.integer("turn", 1),
        choice=found.text("choice"),
        turn_duration_ms=milliseconds(found, "turn_duration_ms"),
        map_fn_latency_ms=milliseconds(found, "map_fn_latency_ms"),
        snapshot_batch_ms=milliseconds(found, "snapshot_batch_ms"),
        conflicts=found.integer("conflicts", 0, 1000),
        share_card=found.flag("share_card"),
        split=Split.of(found.sub("split")),
        safe=SafeCall(
            function=safe.text("function"),
            input=safe.text("input"),
            output=safe.text("output"),
            refused=safe.text("refused"),
            ms=milliseconds(safe, "ms"),
        ),
        calls=calls,
    )


def _call(found: Fields) -> Call:
    return Call(
        agent=found.text("agent"),
        variant=found.text("variant"),
        question=_sha256(found, "question"),
        text=found.text("text"),
        usable=found.flag("usable"),
        tokens=found.integer("tokens") if found.has("tokens") else None,
        latency_ms=milliseconds(found, "latency_ms"),
        split=Split.of(found.sub("split")),
        digest=_sha256(found, "digest") if found.has("digest") else None,
    )


def _sha256(found: Fields, name: str) -> str:
    text = found.text(name)
    return text if _SHA256.fullmatch(text) else found.wrong(name, "is no SHA-256")
