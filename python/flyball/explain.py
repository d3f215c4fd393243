"""A journal as a person would tell it: what was observed, which threshold, what was done, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from .events import Event


class Told(NamedTuple):
    """One sentence, and the event that it tells."""

    number: int
    session: int
    turn: int
    sentence: str

    def __str__(self) -> str:
        place = f"session {self.session}" + (f" answer {self.turn}" if self.turn else "") if self.session else ""
        return f"{place:22} {self.sentence}"


def tell(events: Iterable[Event], session: int | None = None, turn: int | None = None) -> Iterator[Told]:
    """A sentence for each event that a person wants to know of; `session`, `turn`: only theirs."""
    for event in events:
        if session is not None and event.session != session:
            continue
        if turn is not None and event.turn != turn:
            continue
        if make := _SENTENCES.get(event.reason_id):
            yield Told(event.number, event.session, event.turn, make(event.data))


def _knobs(data: dict[str, Any]) -> str:
    asked, given = data["asked"], data["given"]
    return ", ".join(f"{name} {asked[name]} became {given[name]}" for name in asked if asked[name] != given[name])


def _judged(data: dict[str, Any]) -> str:
    if data["unit"] == "percent":
        return f"steps took {data['measured']} % of what is usual here"
    return f"a token took {data['measured']:,} cycles"


def _mark(data: dict[str, Any]) -> str:
    return f"{data['mark']} %" if data["unit"] == "percent" else f"{data['mark']:,}"


def _threads(data: dict[str, Any]) -> str:
    return f"{data['threads']} threads compute, {data['decode_threads']} where there is no prompt"


def _opened(data: dict[str, Any]) -> str:
    modes = [f"{part} {data['governor'][f'{part}.mode']}" for part in ("autotune", "guard")]
    return f"opened with a context of {data['context']} tokens; {', '.join(modes)}"


def _ended(data: dict[str, Any]) -> str:
    decode = data["decode"]
    cost = f", {decode['cycles'] // decode['tokens']:,} cycles a token" if decode["tokens"] else ""
    return f"ended by {data['stop_reason']} after {data['generated_tokens']} tokens{cost}"


def _stopped(data: dict[str, Any], why: str) -> str:
    return f"ended at token {data['at_token']}: {why}"


def _late(what: str) -> Callable[[dict[str, Any]], str]:
    return lambda data: _stopped(
        data, f"{what} took {data['elapsed_us'] / 1000:,.1f} ms, allowed are {data['limit_us'] / 1000:,.0f}"
    )


def _simulated(data: dict[str, Any]) -> str:
    return f"would have been ended at token {data['at_token']} by {data['would']}, but the guard only tells"


def _tightened(data: dict[str, Any]) -> str:
    return f"{_judged(data)}, above {_mark(data)}: later answers are bounded by {data['becomes']} steps"


def _relaxed(data: dict[str, Any]) -> str:
    rest = f"{data['becomes']} steps are left" if data["becomes"] else "nothing is bounded any more"
    return f"{_judged(data)}, below {_mark(data)}: a step is taken back, {rest}"


def _blocked(why: str) -> Callable[[dict[str, Any]], str]:
    return lambda data: f"{_judged(data)}, past {_mark(data)}, but nothing changes: {why}"


def _baseline(data: dict[str, Any]) -> str:
    baseline = data["baseline"]
    return (
        f"a step costs {baseline['rest_cycles']:,} cycles here, and {baseline['attention_cycles']:,} more for every"
        " 1,024 tokens in the cache: marks and budgets follow from this"
    )


_SENTENCES: dict[str, Callable[[dict[str, Any]], str]] = {
    "MODEL_LOADED": lambda data: (
        f"a model was loaded: {data['architecture']} {data['quantisation']} on {data['isa']}, {data['threads']} threads"
    ),
    "MODEL_TUNED": lambda data: (
        f"{data['probes']} probes in {data['spent_us'] / 1000:,.0f} ms: {_threads(data)}, for {data['profile']}"
    ),
    "MODEL_TUNING_REMEMBERED": lambda data: f"remembered: {_threads(data)}, for {data['profile']}",
    "SESSION_OPENED": _opened,
    "SESSION_SETTINGS": lambda data: "the governor got other settings",
    "SESSION_CACHE_RESET": lambda data: "the cache was emptied on request",
    "SESSION_CUT_SHORT": lambda data: f"a clock ended a call after {data['elapsed_us'] / 1000:,.1f} ms",
    "SESSION_MEMORY_SEEN": lambda data: f"{data['available_mb']:,} MiB of memory were free",
    "SESSION_LOOP_SEEN": lambda data: f"the last {data['tokens']} tokens repeat every {data['period']}",
    "SESSION_TURN_ENDED": _ended,
    "SESSION_CLOSED": lambda data: "closed",
    "AUTOTUNE_CALIBRATED": _baseline,
    "AUTOTUNE_BASELINE_LOWERED": lambda data: "cheaper than was known: " + _baseline(data),
    "AUTOTUNE_THREADS": lambda data: (
        f"{data['from']} threads took {data['usual_percent']} % of what is usual here, {data['to']} take"
        f" {data['trial_percent']} %: decoding goes on with {data['to']}"
    ),
    "AUTOTUNE_TIGHTEN": _tightened,
    "AUTOTUNE_RELAX": _relaxed,
    "AUTOTUNE_TIGHTEN_SIMULATED": lambda data: "only told: " + _tightened(data),
    "AUTOTUNE_RELAX_SIMULATED": lambda data: "only told: " + _relaxed(data),
    "AUTOTUNE_AT_FLOOR": _blocked("every bound is at its floor"),
    "AUTOTUNE_SETTLING": _blocked("the last change is too young to be reversed"),
    "AUTOTUNE_SAFE_MODE": _blocked("in safe mode nothing is relaxed"),
    "AUTOTUNE_TOO_SHORT": lambda data: "too short an answer to judge what it cost",
    "AUTOTUNE_CAPS": lambda data: f"got less than was asked for, by {data['tightness']} steps: {_knobs(data)}",
    "GUARD_BUDGET_STOP": lambda data: _stopped(
        data, f"{data['overruns']} steps took longer than their budget, the last of {data['budget_cycles']:,} cycles"
    ),
    "GUARD_FIRST_TOKEN_STOP": _late("the first token"),
    "GUARD_TOKEN_STOP": _late("a token"),
    "GUARD_TURN_STOP": _late("the answer"),
    "GUARD_LOOP_STOP": lambda data: _stopped(data, f"{data['repeated']} tokens repeat what was before"),
    "GUARD_MEMORY_STOP": lambda data: _stopped(
        data, f"{data['available_mb']:,} MiB of memory were free, {data['floor_mb']:,} must stay"
    ),
    "GUARD_STOP_SIMULATED": _simulated,
    "GUARD_SAFE_ENTERED": lambda data: f"safe mode for the next {data['safe_turns_left']} answers",
    "GUARD_SAFE_CAPS": lambda data: f"got less than was asked for, in safe mode: {_knobs(data)}",
    "GUARD_SAFE_LEFT": lambda data: "safe mode is over: answers get what is asked for",
    "GUARD_CACHE_RESET": lambda data: "the cache was emptied",
}
