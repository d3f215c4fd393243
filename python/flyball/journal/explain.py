"""A journal in sentences: observations, the thresholds that they passed, decisions and outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

from .events import DECIDING, REASONS, Event


class Sentence(NamedTuple):
    """One sentence, and the event that it describes."""

    number: int
    session: int
    turn: int
    sentence: str
    policy: bool = False  # whether the session is a policy's

    def __str__(self) -> str:
        who = "policy" if self.policy else f"session {self.session}"
        place = who + (f" answer {self.turn}" if self.turn else "") if self.session else ""
        return f"{place:22} {self.sentence}"


def tell(events: Iterable[Event], session: int | None = None, turn: int | None = None) -> Iterator[Sentence]:
    """A sentence for each event that has one; `session`, `turn`: only for these."""
    policies = set()
    for event in events:
        if event.reason_id == "SESSION_POLICY_OPENED":
            policies.add(event.session)
        elif event.reason_id == "SESSION_OPENED":
            policies.discard(event.session)
        if session is not None and event.session != session:
            continue
        if turn is not None and event.turn != turn:
            continue
        if text := sentence(event.reason_id, event.data):
            yield Sentence(event.number, event.session, event.turn, text, event.session in policies)


def sentence(reason_id: str, data: dict[str, Any]) -> str | None:
    """An event as a sentence; None for bookkeeping events."""
    make = _SENTENCES.get(reason_id)
    return make(data) if make else None


class Decided(Protocol):
    """A decision, wherever it was recorded."""

    @property
    def reason_id(self) -> str: ...

    @property
    def data(self) -> dict[str, Any]: ...


def sentence_of(decision: Decided) -> str:
    """A decision as a sentence; the reason's name where it has none."""
    return sentence(decision.reason_id, decision.data) or decision.reason_id


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
    return f"{_count(data['threads'], 'thread')} to compute, {data['decode_threads']} where there is no prompt"


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
        data, f"{what} took {data['elapsed_us'] / 1000:,.1f} ms, the limit is {data['limit_us'] / 1000:,.0f}"
    )


def _simulated(data: dict[str, Any]) -> str:
    return f"would have been ended at token {data['at_token']} by {data['would']}, but the guard only simulates"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("s" if n != 1 else "")


def _tightened(data: dict[str, Any]) -> str:
    return f"{_judged(data)}, above {_mark(data)}: later answers get {_count(data['becomes'], 'step')} less"


def _relaxed(data: dict[str, Any]) -> str:
    rest = f"{_count(data['becomes'], 'step')} left" if data["becomes"] else "no bounds are left"
    return f"{_judged(data)}, below {_mark(data)}: one step is reverted, {rest}"


def _blocked(why: str) -> Callable[[dict[str, Any]], str]:
    return lambda data: f"{_judged(data)}, past {_mark(data)}, but nothing is changed: {why}"


def _baseline(data: dict[str, Any]) -> str:
    baseline = data["baseline"]
    return (
        f"a step costs {baseline['rest_cycles']:,} cycles here, and {baseline['attention_cycles']:,} more for every"
        " 1,024 tokens in the cache: marks and budgets follow from this"
    )


def _drafts(data: dict[str, Any]) -> str:
    return f"{data['accepted']} of {data['drafted']} were accepted"


def _configuration(c: dict[str, Any]) -> str:
    return f"a context of {c['context']:,} tokens, answers of {c['max_tokens']:,}, cache type {c['cache_type']}"


def _changes(data: dict[str, Any], before: str = "from", after: str = "to") -> str:
    names = {"context": "context", "max_tokens": "tokens of an answer", "cache_type": "cache type"}
    old, new = data[before], data[after]
    shown = [
        f"{name} {_shown(old[key])} became {_shown(new[key])}" for key, name in names.items() if old[key] != new[key]
    ]
    return ", ".join(shown)


def _shown(value: int | str) -> str:
    return value if isinstance(value, str) else f"{value:,}"


def _policy_opened(data: dict[str, Any]) -> str:
    settings = data["governor"]
    return (
        f"a policy manages the sessions ({data['history']['mode']} mode): consult {settings['policy.consult']},"
        f" auto_apply {settings['policy.auto_apply']}; {_configuration(data['current'])}"
    )


def _turn_seen(data: dict[str, Any]) -> str:
    speed = f"a step took {data['step_cycles']:,} cycles" if data["step_cycles"] else "too short to judge"
    end = ", ended by the guard" if data["stopped"] else ", cut at its limit" if data["cut"] else ""
    return f"the policy saw an answer: {speed}, {data['resident_kb'] // 1024:,} MiB in use{end}"


def _mode(data: dict[str, Any]) -> str:
    troubled, calm = data["troubled_turns"], data["calm_turns"]
    seen = f"{troubled} answers showed trouble" if troubled else f"{calm} answers in a row were calm"
    return f"{seen}: {data['from']} mode becomes {data['to']}"


def _failed_start(data: dict[str, Any]) -> str:
    change = ", with an unproven change" if data["unproven"] else ""
    in_a_row = f", {data['failed']} in a row" if data["failed"] > 1 else ""
    return f"start {data['start']}: the previous run crashed before it was stable{change}{in_a_row}"


def _chosen(data: dict[str, Any]) -> str:
    return f"{data['action']}, at {data['percent']} %, {data['margin_percent']} points before the next"


def _confidence(data: dict[str, Any]) -> str:
    terms = ("base", "mode", "memory", "context", "margin", "outcomes")
    parts = " ".join(f"{name} {data[name]:+d}" for name in terms if data[name])
    return f"confidence in {data['action']} is {data['score']} of {data['threshold']} needed ({parts})"


def _not_taken(why: str) -> Callable[[dict[str, Any]], str]:
    return lambda data: f"{data['action']} is not taken: {why}"


def _outcome(verdict: str) -> Callable[[dict[str, Any]], str]:
    return lambda data: (
        f"{data['action']} {verdict}: of {data['pairs']} pairs of answers before and after, {data['better']} are better"
        f" in {data['metric']} and {data['worse']} worse"
    )


def _left_out(choice: dict[str, Any]) -> str:
    return ", ".join(f"{model} is out ({why})" for model, why in choice["left_out"].items())


def _routed(data: dict[str, Any]) -> str:
    choice, question = data["choice"], data["question"]
    likeliest, p = next(iter(question["p"].items()), ("", 0.0))
    text = f"its text is {likeliest} with {p:.2f}, of {question['floor']:.2f} needed" if likeliest else "it has no text"
    who = f"{choice['model']} with adapter {choice['adapter'][:12]}" if choice["adapter"] else choice["model"]
    scores = ", ".join(f"{model} {score['total']:.3f}" for model, score in choice["scores"].items())
    out = f"; {_left_out(choice)}" if choice["left_out"] else ""
    why = f"for {choice['intent']}" if choice["intent"] else "as the last fallback"
    return f"answer {data['answer']} goes to {who} {why}: {text}; scores {scores}{out}"


_SENTENCES: dict[str, Callable[[dict[str, Any]], str]] = {
    "MODEL_LOADED": lambda data: (
        f"a model was loaded: {data['architecture']} {data['quantization']} on {data['isa']},"
        f" {_count(data['threads'], 'thread')}"
        + (f", its weights {data['packed_copy']} in a packed copy" if "packed_copy" in data else "")
        + (f"; no packed copy was made: {data['no_packed_copy']}" if "no_packed_copy" in data else "")
    ),
    "MODEL_ADAPTER_LOADED": lambda data: (
        f"an adapter was loaded: {data['name']}, {_count(data['pairs'], 'pair')} of rank {data['rank']}"
        + ("" if data["changes_logits"] else "; it changes no logits")
    ),
    "MODEL_TUNED": lambda data: (
        f"{data['probes']} probes in {data['spent_us'] / 1000:,.0f} ms: {_threads(data)}, for {data['objective']}"
    ),
    "MODEL_TUNING_CACHED": lambda data: f"cached: {_threads(data)}, for {data['objective']}",
    "MODEL_ISA_CHOSEN": lambda data: (
        f"{data['isa']} is the fastest here: four tokens took "
        + ", ".join(f"{ns / 1e6:,.2f} ms with {isa}" for isa, ns in data["step_ns"].items())
    ),
    "SESSION_OPENED": _opened,
    "SESSION_SETTINGS": lambda data: "the governor's settings were changed",
    "SESSION_CACHE_RESET": lambda data: "the cache was emptied on request",
    "SESSION_CUT_SHORT": lambda data: f"a deadline ended a call after {data['elapsed_us'] / 1000:,.1f} ms",
    "SESSION_MEMORY_SEEN": lambda data: f"{data['available_mb']:,} MiB of memory were free",
    "SESSION_LOOP_SEEN": lambda data: f"the last {data['tokens']} tokens repeat every {data['period']}",
    "SESSION_TURN_ENDED": _ended,
    "SESSION_CLOSED": lambda data: "closed",
    "SESSION_POLICY_OPENED": _policy_opened,
    "SESSION_TURN_SEEN": _turn_seen,
    "SESSION_CONSULTED": lambda data: (
        "a mock model was asked" if data["mock"] else "the model was asked what to change"
    ),
    "JOURNAL_SET_ASIDE": lambda data: (
        f"the journal before could not go on: {data['fault']}; its files are {', '.join(data['files'])} now"
    ),
    "JOURNAL_HEAD_MISSING": lambda data: (
        f"the journal's head was missing: lines after number {data['n_lines'] - 1} may have been cut off before"
    ),
    "AUDIT_SIGNED": lambda data: f"receipt {data['id']} was signed with key {data['key']}",
    "AUDIT_CACHE_MISMATCH": lambda data: (
        f"the answer of receipt {data['id']} was given again, and is not what the model computes: {data['message']}"
    ),
    "ROUTE_REGISTRY_LOADED": lambda data: (
        f"the registry of routes {data['registry'][:12]} was read: {_count(len(data['floors']), 'intent')}"
    ),
    "ROUTE_REGISTRY_REFUSED": lambda data: f"routes stay as they were: {data['message']}",
    "ROUTE_INTENT": _routed,
    "ROUTE_BELOW_FLOOR": _routed,
    "ROUTE_NO_TEXT": _routed,
    "ROUTE_MODELS_OUT": _routed,
    "ROUTE_NOTHING_LEFT": lambda data: f"no route: {_left_out(data['choice'])}",
    "ROUTE_REPEATED": lambda data: f"answer {data['answer']} goes to {data['choice']['model']} again",
    "ROUTE_MODEL_OPENED": lambda data: f"model {data['model']} failed repeatedly: it is left alone for a while",
    "ROUTE_MODEL_TRIED": lambda data: f"one request tries whether model {data['model']} answers again",
    "ROUTE_MODEL_CLOSED": lambda data: f"model {data['model']} answers again",
    **dict.fromkeys(
        (
            "ADAPTER_ADDED",
            "ADAPTER_PROMOTED",
            "ADAPTER_FORCED",
            "ADAPTER_CANARY_BEGUN",
            "ADAPTER_CANARY_PASSED",
            "ADAPTER_CANARY_WORSE",
            "ADAPTER_ROLLED_BACK",
            "ADAPTER_RETIRED",
        ),
        lambda data: f"adapter {data['name']} of project {data['project']} is {data['state']}, by {data['who']}",
    ),
    "ADAPTER_UNUSABLE": lambda data: f"adapter {data['digest'][:16]} cannot be used: {data['why']}",
    "AUTOTUNE_CALIBRATED": _baseline,
    "AUTOTUNE_BASELINE_LOWERED": lambda data: "cheaper than the baseline: " + _baseline(data),
    "AUTOTUNE_THREADS": lambda data: (
        f"steps took {data['usual_percent']} % of what is usual here with {_count(data['from'], 'thread')}, and"
        f" {data['trial_percent']} % with {data['to']}: decoding goes on with {data['to']}"
    ),
    "AUTOTUNE_TIGHTEN": _tightened,
    "AUTOTUNE_RELAX": _relaxed,
    "AUTOTUNE_TIGHTEN_SIMULATED": lambda data: "simulated: " + _tightened(data),
    "AUTOTUNE_RELAX_SIMULATED": lambda data: "simulated: " + _relaxed(data),
    "AUTOTUNE_AT_FLOOR": _blocked("every bound is at its floor"),
    "AUTOTUNE_COOLDOWN": _blocked("the last change is too recent to be reversed"),
    "AUTOTUNE_SAFE_MODE": _blocked("safe mode relaxes nothing"),
    "AUTOTUNE_TOO_SHORT": lambda data: "too short an answer to judge what it cost",
    "AUTOTUNE_CAPS": lambda data: f"got less than requested, by {_count(data['tightness'], 'step')}: {_knobs(data)}",
    "GUARD_BUDGET_STOP": lambda data: _stopped(
        data, f"{data['overruns']} steps took longer than their budget, the last of {data['budget_cycles']:,} cycles"
    ),
    "GUARD_FIRST_TOKEN_STOP": _late("the first token"),
    "GUARD_TOKEN_STOP": _late("a token"),
    "GUARD_TURN_STOP": _late("the answer"),
    "GUARD_LOOP_STOP": lambda data: _stopped(data, f"{data['repeated']} tokens repeat what was before"),
    "GUARD_MEMORY_STOP": lambda data: _stopped(
        data, f"{data['available_mb']:,} MiB of memory were free, below the minimum of {data['floor_mb']:,}"
    ),
    "GUARD_STOP_SIMULATED": _simulated,
    "GUARD_SAFE_ENTERED": lambda data: f"safe mode for the next {data['safe_turns_left']} answers",
    "GUARD_SAFE_CAPS": lambda data: f"got less than requested, in safe mode: {_knobs(data)}",
    "GUARD_SAFE_EXITED": lambda data: "safe mode is over",
    "GUARD_CACHE_RESET": lambda data: "the cache was emptied",
    "SPECULATION_PAYS": lambda data: f"draft tokens pay, {_drafts(data)}: steps verify them wherever there are any",
    "SPECULATION_PAUSED": lambda data: f"draft tokens do not pay, {_drafts(data)}: they are tried rarely",
    "POLICY_IN_FORCE": lambda data: f"made with what the policy changed: {_changes(data, 'asked', 'given')}",
    "POLICY_WORSE": _mode,
    "POLICY_BETTER": _mode,
    "POLICY_START_FAILED": _failed_start,
    "POLICY_START_STABLE": lambda data: (
        f"start {data['start']} is stable: {data['calm_turns']} answers in a row were calm, the settings are proven"
    ),
    "POLICY_STAY": lambda data: f"it chose to change nothing: {_chosen(data)}",
    "POLICY_CHOICE": lambda data: f"it chose {_chosen(data)}",
    "POLICY_SUGGESTED": lambda data: f"a user may want to: {data['action'].replace('_', ' ')}",
    "CONFIDENCE_PASSED": _confidence,
    "CONFIDENCE_TOO_LOW": lambda data: f"{_confidence(data)}: nothing is applied",
    "CONFIDENCE_LOG_ONLY": lambda data: f"{_confidence(data)}, but the gate only logs",
    "PLAN_CHECKPOINT": lambda data: f"checkpoint: {_configuration(data['configuration'])}",
    "PLAN_STEP": lambda data: f"step {data['step']} of {data['of']}, {data['action']}: {_changes(data)}",
    "PLAN_RESTORED": lambda data: f"restored to the checkpoint: {_configuration(data['configuration'])}",
    "PLAN_NOT_RESTORED": lambda data: (
        f"could not be restored to the checkpoint: {_configuration(data['configuration'])}"
    ),
    "PLAN_ROLLED_BACK": lambda data: f"a start failed with an unproven change, which is rolled back: {_changes(data)}",
    "PLAN_HARD_STOP": lambda data: "nothing more is changed in this session",
    "APPLY_VERIFIED": lambda data: f"read again from the file: {_configuration(data['found'])}",
    "APPLY_NOT_VERIFIED": lambda data: "the file, read again, does not have the change",
    "APPLY_SIMULATED": _not_taken("the policy only suggests"),
    "APPLY_REVERTED": lambda data: f"the cause is gone: {_changes(data)}",
    "APPLY_UNDONE": lambda data: f"it did harm: {_changes(data)}",
    "BLOCK_HARD_STOP": _not_taken("a change could not be verified in this session"),
    "BLOCK_PLAN_DONE": _not_taken("the session has had all its changes"),
    "BLOCK_TRIAL_PENDING": _not_taken("the previous change is still on trial"),
    "BLOCK_AT_LIMIT": _not_taken("the setting is at its limit"),
    "BLOCK_NO_CAUSE": _not_taken("nothing is wrong"),
    "BLOCK_CONSERVATIVE": _not_taken("auto_apply is conservative, so it only reduces"),
    "BLOCK_MODE": _not_taken("only the normal mode may increase"),
    "BLOCK_MEMORY": _not_taken("too little memory would be left"),
    "OUTCOME_IMPROVED": _outcome("improved the answers"),
    "OUTCOME_REGRESSED": _outcome("made the answers worse"),
    "OUTCOME_INCONCLUSIVE": _outcome("made no difference beyond chance"),
    "OUTCOME_UNCHANGED": _outcome("did no harm, which would have shown"),
}
_SAYING = ("MODEL", "SESSION", "JOURNAL", "AUDIT", "ROUTE")
# Messages of reliability stages are sentences already.
_SENTENCES.update(
    dict.fromkeys(
        (row.id for row in REASONS.values() if row.family not in (*_SAYING, *DECIDING)),
        lambda data: str(data["message"]),
    )
)
