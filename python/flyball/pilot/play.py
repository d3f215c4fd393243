"""Playing turns. Live models and stubs take this same path, so that what differs between them is time alone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..engine.receipt import Receipt
from . import safe, scene
from .agents import AGENTS, NAMES, Agent
from .models import AgentModel, Clock, Question
from .record import Call, SafeCall, Turn
from .scene import State
from .split import Split

_MOST_SEED = 1 << 53


@dataclass(frozen=True)
class Rules:
    """What a game depends on beside the answers. `snapshot`: the file of the state."""

    seed: int
    random_choice: bool
    snapshot: Path


class Game:
    """Plays turns from a state on. `state` is that of the snapshot after each of them."""

    def __init__(
        self,
        models: Mapping[str, AgentModel],
        variants: Mapping[str, str],
        rules: Rules,
        state: State,
        keep: Callable[[Receipt], object] = lambda _: None,
        clock: Clock = time.perf_counter,
    ) -> None:
        self._models, self._variants, self._rules, self._keep = models, variants, rules, keep
        self._clock, self._uncounted = clock, 0.0
        self._agents = dict(zip(NAMES, AGENTS, strict=True))
        self.state = state

    def turns(self, n: int) -> Iterator[Turn]:
        """The next turns. Receipts are kept between them, which no turn waits for."""
        for _ in range(n):
            receipts: list[Receipt] = []
            turn = self._turn(receipts)
            for receipt in receipts:
                self._keep(receipt)
            yield turn

    def _turn(self, receipts: list[Receipt]) -> Turn:
        start, state, seed = self._now(), self.state, self._rules.seed
        number = state.turn + 1
        choice = scene.choice_of(seed, number, self._rules.random_choice)
        facts: dict[str, Any] = {**state.at, "turn": number, "choice": choice, "scout": state.at["ada"]}
        calls: list[Call] = []

        def ask(name: str) -> Mapping[str, Any]:
            call, answer = self._ask(self._agents[name], number, facts, receipts)
            calls.append(call)
            return answer

        facts |= ask("event")
        before_map = self._now()
        chosen = ask("map")
        done = self._safe(chosen)
        map_ms = self._now() - before_map
        facts["map"] = done.output
        deeds = ask("world")
        conflicts = scene.conflicts_of(deeds)
        facts["deeds"] = " ".join(f"{name}: {deed['do']} {deed['to']}." for name, deed in deeds.items())
        facts["conflicts"] = conflicts
        judged = ask("judge")
        following = scene.after(state, deeds, judged)
        before_snapshot = self._now()
        scene.save(self._rules.snapshot, following)
        end = self._now()
        self.state = following
        split = _of_turn(end - start, calls, end - before_snapshot)
        card = following.cards > state.cards
        return Turn(
            number, choice, end - start, map_ms, end - before_snapshot, conflicts, card, split, done, tuple(calls)
        )

    def _ask(
        self, agent: Agent, turn: int, facts: Mapping[str, Any], receipts: list[Receipt]
    ) -> tuple[Call, Mapping[str, Any]]:
        start = self._now()
        seed = (self._rules.seed + turn * len(NAMES) + NAMES.index(agent.name)) % _MOST_SEED
        question = Question(turn, agent.name, agent.prompt(facts), agent.schema, seed, agent.max_tokens)
        before = self._now()
        reply = self._models[agent.name].ask(question)
        # Making or fetching a receipt comes after the answer, and is no part of what a player waits for.
        self._uncounted += max(0.0, self._now() - before - reply.split.total)
        answer, usable = agent.read(reply.text)
        total = self._now() - start
        if reply.receipt is not None:
            receipts.append(reply.receipt)
        split = replace(reply.split, harness=max(0.0, total - (reply.split.total - reply.split.harness)))
        variant, sha256 = self._variants[agent.name], question.sha256
        text = reply.text.encode(errors="replace").decode()
        return Call(agent.name, variant, sha256, text, usable, reply.tokens, total, split, reply.digest), answer

    def _safe(self, chosen: Mapping[str, Any]) -> SafeCall:
        given = {name: chosen[name] for name in ("from", "to")}
        start = self._now()
        output = safe.call(chosen["call"], given)
        ms = self._now() - start
        refused = output.why if isinstance(output, safe.Refused) else ""
        said = {"refused": refused} if isinstance(output, safe.Refused) else output
        return SafeCall(str(chosen["call"]), json.dumps(given), json.dumps(said), refused, ms)

    def _now(self) -> float:
        """Milliseconds, without what is no part of a turn."""
        return 1e3 * self._clock() - self._uncounted


def _of_turn(total: float, calls: list[Call], snapshot: float) -> Split:
    """The parts of a turn: those of its calls, the snapshot, and the harness."""
    parts = [call.split for call in calls]
    io = sum(part.io for part in parts) + snapshot
    return Split.within(total, sum(part.model for part in parts), io, sum(part.queue for part in parts))
