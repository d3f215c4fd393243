"""The card: every figure and answer of a run, as a file that can be judged again.

schema 1, kind "scorecard": {schema, kind, version, checks, n_seeds, subject, hardware, timed, answers, peak_bytes,
processor_percent, verdict}; `checks` and every `digest` are SHA-256s, `verdict` is what the rest gives
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import files
from .._cached import cached
from ..bench.fields import SCHEMA, Fields, dump
from ..paths import AnyPath
from .checks import GROUPS
from .subjects import About
from .verdict import Decision, Share, decide

KINDS = ("cold", "warm", "real", "long")
_LEAST_TOKENS = 16  # of an answer whose rate says something
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Timed:
    """An answer that was timed. `kind`: cold: the first one, warm: the same again, real, long: for the rate."""

    kind: str
    first_s: float
    seconds: float
    tokens: int | None
    digest: str | None


@dataclass(frozen=True)
class Answered:
    """An answer to a check with one seed. `why`: it failed, or ""; `digest`: of its receipt, None if there is none."""

    check: str
    group: str
    seed: int
    why: str
    text: str
    tokens: int | None
    digest: str | None

    @property
    def passed(self) -> bool:
        """Whether it kept the rules."""
        return not self.why


@dataclass(frozen=True)
class Card:
    """A scorecard. `version`: of Flyball; `hardware`: "" if another machine computed."""

    version: str
    checks: str
    n_seeds: int
    subject: About
    hardware: str
    timed: tuple[Timed, ...]
    answers: tuple[Answered, ...]
    peak_bytes: int | None
    processor_percent: float | None

    @cached
    def passed(self) -> dict[str, bool]:
        """Of each check, whether more than half of its seeds passed."""
        found: dict[str, list[bool]] = defaultdict(list)
        for answer in self.answers:
            found[answer.check].append(answer.passed)
        return {name: 2 * sum(each) > len(each) for name, each in found.items()}

    @cached
    def shares(self) -> dict[str, Share]:
        """Checks passed, by group; seeds of a check depend on each other, so the check is what counts."""
        group = {answer.check: answer.group for answer in self.answers}
        found = {name: [passed for check, passed in self.passed.items() if group[check] == name] for name in GROUPS}
        return {name: Share(sum(each), len(each)) for name, each in found.items()}

    @property
    def latency_s(self) -> tuple[float, ...]:
        """Seconds to the first token of a real prompt, of each repeat."""
        return tuple(timed.first_s for timed in self.of_kind("real"))

    @property
    def tokens_s(self) -> tuple[float, ...]:
        """Tokens of a long answer by its seconds, its prompt included; empty if not known."""
        found = self.of_kind("long")
        if any(timed.tokens is None for timed in found):
            return ()
        return tuple(t.tokens / t.seconds for t in found if t.tokens and t.tokens >= _LEAST_TOKENS and t.seconds > 0)

    def of_kind(self, kind: str) -> list[Timed]:
        """The timed answers of a kind."""
        return [timed for timed in self.timed if timed.kind == kind]

    @cached
    def decision(self) -> Decision:
        """The verdict that follows from all figures."""
        return decide(self.shares, self.latency_s, self.tokens_s, self.subject.parameters)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        decision = self.decision
        groups = {name: asdict(share) | {"bounds": share.bounds} for name, share in self.shares.items()}
        verdict = {"size": decision.size, "outcomes": decision.outcomes, "groups": groups, "reasons": decision.reasons}
        return {"schema": SCHEMA, "kind": "scorecard"} | asdict(self) | {"verdict": verdict}

    def save(self, path: AnyPath) -> Path:
        """Write it atomically."""
        return files.write(path, dump(self.as_dict()))

    @classmethod
    def load(cls, path: AnyPath) -> Card:
        """Read a file (untrusted). Raises FormatError, also if its verdict is not what its answers give."""
        found = Fields.read(path, "scorecard")
        subject = found.sub("subject")
        card = cls(
            version=found.text("version"),
            checks=_digest(found, "checks") or found.wrong("checks", "is null"),
            n_seeds=found.integer("n_seeds", 1, 1000),
            subject=About(
                name=subject.text("name"),
                quantization=subject.text("quantization"),
                parameters=subject.integer("parameters") if subject.has("parameters") else None,
                fingerprint=subject.text("fingerprint"),
                place=subject.text("place"),
                note=subject.text("note"),
            ),
            hardware=found.text("hardware"),
            timed=tuple(_timed(item) for item in found.items("timed")),
            answers=tuple(_answered(item) for item in found.items("answers")),
            peak_bytes=found.integer("peak_bytes") if found.has("peak_bytes") else None,
            processor_percent=found.number_or_none("processor_percent"),
        )
        if len({(answer.check, answer.seed) for answer in card.answers}) != len(card.answers):
            found.wrong("answers", "has a check and seed twice")
        if len(card.answers) != card.n_seeds * len(card.passed):
            found.wrong("answers", f"must have {card.n_seeds} of each check")
        said = found.sub("verdict").text("size")
        if said != card.decision.size:
            found.wrong("verdict", f"is {said[:40]!r}, but the answers give {str(card.decision.size)!r}")
        return card


def _timed(found: Fields) -> Timed:
    kind = found.text("kind")
    if kind not in KINDS:
        found.wrong("kind", f"is {kind[:40]!r}, must be one of: {', '.join(KINDS)}")
    return Timed(kind, _seconds(found, "first_s"), _seconds(found, "seconds"), _tokens(found), _digest(found, "digest"))


def _answered(found: Fields) -> Answered:
    group = found.text("group")
    if group not in GROUPS:
        found.wrong("group", f"is {group[:40]!r}, must be one of: {', '.join(GROUPS)}")
    return Answered(
        check=found.text("check", empty=False),
        group=group,
        seed=found.integer("seed"),
        why=found.text("why"),
        text=found.text("text"),
        tokens=_tokens(found),
        digest=_digest(found, "digest"),
    )


def _tokens(found: Fields) -> int | None:
    return found.integer("tokens") if found.has("tokens") else None


def _seconds(found: Fields, name: str) -> float:
    value = found.number(name)
    return value if value >= 0 else found.wrong(name, f"is {value}, must not be negative")


def _digest(found: Fields, name: str) -> str | None:
    if not found.has(name):
        return None
    text = found.text(name)
    return text if _SHA256.fullmatch(text) else found.wrong(name, "is no SHA-256")
