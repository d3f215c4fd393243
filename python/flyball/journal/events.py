"""Events of the core, each with a reason from the closed registry."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from .. import _core


class ReasonInfo(NamedTuple):
    """One row of the registry."""

    id: str
    family: str
    event: str
    meaning: str


REASONS: dict[str, ReasonInfo] = {row[0]: ReasonInfo(*row) for row in _core.reasons()}
DECIDING = ("AUTOTUNE", "GUARD", "SPECULATION", "POLICY", "CONFIDENCE", "PLAN", "APPLY", "BLOCK", "OUTCOME")
Reason = StrEnum("Reason", {name: name for name in REASONS})  # type: ignore[misc]  # the list comes from the core


def current_id(reason_id: str) -> str:
    """The current id for an id of version 0.1; an unknown id is returned unchanged."""
    return _core.current_reason(reason_id) or reason_id


@dataclass(frozen=True)
class Event:
    """One line of a journal. `time_ns`: nanoseconds since 1970; `session` and `turn` count from 1, 0: none."""

    number: int
    time_ns: int
    cycles: int
    session: int
    turn: int
    event: str
    reason_id: str
    data: dict[str, Any]
    hash: str
    raw: str = field(repr=False)  # the data as it was written
    prev_hash: str = field(default="", repr=False)

    @property
    def is_decision(self) -> bool:
        """Whether it is a decision of a governor or policy; the others are observations or reliability verdicts."""
        return REASONS[self.reason_id].family in DECIDING

    @classmethod
    def from_core(cls, fields: dict[str, Any]) -> Event:
        """From JournalCheck.next(); converts data of version 1 to version 2."""
        raw = fields["data"]
        if fields["version"] == 1:
            raw = upgraded(raw)
        return cls(**{k: v for k, v in fields.items() if k != "version"} | {"data": json.loads(raw), "raw": raw})


# Members of data that version 2 renamed. Replays compare bytes, so the text is rewritten; a name inside a string has
# backslashes before its quotes and does not match.
_KINDS = ("prompt", "plain", "speculative", "shared")
_COLUMNS = '"columns":["kind","rows","gained","cycles","attention_cycles","elapsed_us","threads","drafts"],"rows":'
_CACHE_TYPES = {"0": "none", "8": "q8_0", "16": "f16", "32": "f32"}
_RENAMED_MEMBERS = {
    "bad": "troubled_turns",
    "by_policy": "policy_change",
    "calm": "calm_turns",
    "harmed": "regressed",
    "helped": "improved",
    "kv": "cache_type",
    "learnt": "history",
    "now": "current",
    "profile": "objective",
    "quantisation": "quantization",
    "undecided": "inconclusive",
}


def upgraded(raw: str) -> str:
    """Data of version 1, as version 2 writes it."""
    if raw.startswith('{"calls":['):
        rows = re.sub(r"\[(\d),", lambda row: f'["{_KINDS[int(row[1])]}",', raw.removeprefix('{"calls":'))
        return "{" + _COLUMNS + rows
    raw = re.sub(r'"cache_bits":(\d+)', lambda bits: f'"cache_type":"{_CACHE_TYPES[bits[1]]}"', raw)
    raw = re.sub(r'"least_cache_bits":(\d+)', lambda bits: f'"smallest_cache_type":"{_CACHE_TYPES[bits[1]]}"', raw)
    return re.sub(rf'(?<=[{{,])"({"|".join(_RENAMED_MEMBERS)})":', lambda name: f'"{_RENAMED_MEMBERS[name[1]]}":', raw)
