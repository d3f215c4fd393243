"""Routes of a server: who answers a request, and how that went.

Breakers are of one process, as what fails there (a load, its memory) says little of another; what has to be the same in
all that have one store follows from the store and from the request: where it goes again, and whether it explores.
"""

from __future__ import annotations

import asyncio
import datetime
import secrets
import time
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..engine.adapter import Adapter
from ..engine.results import Result
from ..errors import Error, Interrupted
from ..route.breaker import Breaker
from ..route.choice import Choice, Question, choose
from ..route.history import History
from ..route.intents import Intents
from ..route.question import State, may_explore, question_of
from ..route.registry import AUTO, Registry
from .failures import Failure
from .plans import Plans

if TYPE_CHECKING:
    from pathlib import Path

    from ..learn.guardians import Guardian
    from .adapters import Adapters
    from .models import Models, Served
    from .records import Records

_HISTORY_SECONDS = 2.0
_HISTORY_HALF_LIVES = 10
_MOST_REPEATS = 4096
_MESSAGE_TOKENS = 8  # that a template adds to a message, about
_DIGEST_SHOWN = 12


@dataclass(frozen=True)
class Wish:
    """What a request is about. `text`: its last words, which tell the intent; `whole`: all that the prompt has."""

    project: str
    text: str
    whole: str
    n_messages: int = 1
    needs: tuple[str, ...] = ()
    repeats: str = ""  # the id of the answer that a client may ask for again
    proposed: str = ""  # the intent that a plugin takes it for; one that there is not counts as none


class Routed:
    """Where a request goes; it learns how that went. `adapter`: None for none."""

    def __init__(self, routing: Routing, choice: Choice, question: Question | None, adapter: Adapter | None) -> None:
        self.choice = choice
        self.adapter = adapter
        self.asked: object = None  # the question as the client gave it
        self._routing = routing
        self._question = question

    @property
    def header(self) -> str:
        """intent=...; model=...; p=...; reason=..., in ASCII."""
        p = next(iter(self._question.p.values()), None) if self._question is not None else None
        words = {
            "intent": self.choice.intent,
            "model": self.choice.model,
            "adapter": self.choice.adapter[:_DIGEST_SHOWN],
            "p": "" if p is None else f"{p:.3f}",
            "reason": self.choice.reason,
        }
        told = "; ".join(f"{name}={word}" for name, word in words.items() if word)
        return "".join(each if " " <= each <= "~" else "?" for each in told)

    @property
    def guardians(self) -> list[Guardian]:
        """Those that look at the answer."""
        return self._routing.guardians_of(self.choice.intent)

    def begun(self, answer_id: str) -> None:
        """The question was checked, and has this id: the choice goes into the journal."""
        self._routing.tell_choice(answer_id, self.choice, self._question)

    def ended(self, result: Result | None, error: BaseException | None) -> None:
        """The answer is there, or it failed; what its client or a full server ended says nothing of the model."""
        ok = None if result is None else True
        if result is None and isinstance(error, Exception) and not isinstance(error, Interrupted):
            ok = None if isinstance(error, Failure) and (error.status < 500 or error.status == 503) else False
        self._routing.breaker(self.choice.model, self.choice.adapter).ended(ok)


class Routing:
    """For the event loop's thread alone; what takes a while is done in others."""

    def __init__(self, path: Path, models: Models, records: Records, adapters: Adapters) -> None:
        self._plans = Plans(path, models, records, adapters)
        self._models = models
        self._records = records
        self._adapters = adapters
        self._histories: dict[str, tuple[float, History]] = {}
        self._breakers: dict[tuple[str, str], Breaker] = {}
        self._repeats: OrderedDict[tuple[str, str], Choice] = OrderedDict()

    @property
    def modified(self) -> float:
        """When the registry in use was written, in seconds since 1970."""
        return self._plans.current.modified

    @property
    def intents(self) -> list[str]:
        """The names of all, by the registry in use."""
        return list(self._plans.current.registry.intents)

    @property
    def guardians(self) -> list[str]:
        """The names of all, by the registry in use."""
        return list(self._plans.current.registry.guardians)

    def guardians_of(self, intent: str) -> list[Guardian]:
        """Those of an intent, by the registry in use."""
        return self._plans.current.registry.guardians_of(intent)

    async def start(self) -> None:
        """Read the registry. Raises Error for one that cannot be used."""
        await self._plans.start()

    def look(self) -> None:
        """Have the registry read again if its files have changed."""
        self._plans.look()

    async def route(self, wish: Wish) -> tuple[Served, Routed]:
        """The model that answers, loaded and with the intent's adapter. Failure 503 where nobody can."""
        if (repeated := await self._repeated(wish)) is not None:
            return repeated
        registry = self._plans.current.registry
        intents = await self._plans.intents_of(wish.project)
        p: Mapping[str, float] = {wish.proposed: 1.0}
        if wish.proposed not in registry.intents:
            p = await asyncio.to_thread(intents.probabilities, wish.text)
        history = await self._history_of(wish.project, registry.half_life_days)
        out: set[tuple[str, str]] = set()  # that turned out to be missing
        while True:
            question = await self._question(registry, intents, p, wish, history, out)
            choice = choose(question)
            if not choice.model:
                self.tell_choice("", choice, question)
                why = ", ".join(f"{model}: {reason}" for model, reason in choice.left_out.items())
                what = f"no model of this route can answer now ({why})"
                raise Failure(503, what, code="no_route", headers={"retry-after": "5"})
            breaker = self.breaker(choice.model, choice.adapter)
            breaker.begun()
            try:
                served = await self._models.get(choice.model)
                adapter = (
                    await self._adapters.of_route(served, wish.project, choice.adapter) if choice.adapter else None
                )
            except (Failure, Error) as error:
                breaker.ended(False)
                out.add((choice.model, choice.adapter))
                warnings.warn(f"route to {choice.model}: {error}", RuntimeWarning, stacklevel=2)
                continue
            self._keep(wish, choice)
            return served, Routed(self, choice, question, adapter)

    async def _question(
        self,
        registry: Registry,
        intents: Intents,
        p: Mapping[str, float],
        wish: Wish,
        history: History,
        out: set[tuple[str, str]],
    ) -> Question:
        asked = registry.chain(next(iter(p), registry.fallback))
        intents_asked = [registry.intents[name] for name in asked if name in registry.intents]
        models = {model for intent in intents_asked for model in intent.models} | set(asked) - set(registry.intents)
        fits = {model: await self._fits(model, wish) for model in sorted(models)}

        def state(model: str, adapter: str) -> State:
            return State((model, adapter) not in out, self.breaker(model, adapter).lets_through, fits[model])

        explores = may_explore(wish.repeats or secrets.token_hex(12), registry.explored_share)
        return question_of(registry, intents.floors, p, history, wish.needs, state, explores)

    async def _fits(self, model: str, wish: Wish) -> bool:
        served = self._models.find(model).served
        room = _MESSAGE_TOKENS * wish.n_messages
        if served is None or len(wish.whole.encode(errors="replace")) + room < served.context:
            return True
        return len(await asyncio.to_thread(served.model.tokenize, wish.whole)) + room < served.context

    async def _history_of(self, project: str, half_life_days: float) -> History:
        now, store = time.monotonic(), self._records.store
        read, history = self._histories.get(project, (-_HISTORY_SECONDS, History()))
        if store is None or now - read < _HISTORY_SECONDS:
            return history
        today = datetime.datetime.now(datetime.UTC).date()
        start = today - datetime.timedelta(days=int(_HISTORY_HALF_LIVES * half_life_days))
        rows = await asyncio.to_thread(store.project(project).tasks.since, start)
        history = History.read(rows, today, half_life_days)
        self._histories[project] = now, history
        return history

    async def _repeated(self, wish: Wish) -> tuple[Served, Routed] | None:
        """A request that comes again goes where it went: there alone are its tokens known."""
        if not wish.repeats:
            return None
        choice, store = self._repeats.get((wish.project, wish.repeats)), self._records.store
        if choice is None and store is not None:
            row = await asyncio.to_thread(store.project(wish.project).requests.get, wish.repeats)
            if row is not None:
                choice = Choice("ROUTE_REPEATED", "", row.task or "", row.model, row.adapter or "")
        if choice is None:
            return None
        choice = Choice("ROUTE_REPEATED", choice.intent, choice.task, choice.model, choice.adapter)
        served = await self._models.get(choice.model)
        adapter = await self._adapters.of_digest(served, wish.project, choice.adapter) if choice.adapter else None
        return served, Routed(self, choice, None, adapter)

    def _keep(self, wish: Wish, choice: Choice) -> None:
        if wish.repeats:
            self._repeats[wish.project, wish.repeats] = choice
            while len(self._repeats) > _MOST_REPEATS:
                self._repeats.popitem(last=False)

    def breaker(self, model: str, adapter: str) -> Breaker:
        """Of a model with an adapter."""
        place = (model, adapter)
        if place not in self._breakers:
            about = {"model": model, "adapter": adapter}
            self._breakers[place] = Breaker(time.monotonic, lambda reason: self._records.tell(reason, about))
        return self._breakers[place]

    def tell_choice(self, answer_id: str, choice: Choice, question: Question | None) -> None:
        """Record a choice with all that it depends on."""
        data: dict[str, Any] = {"answer": answer_id, "choice": choice.as_dict()}
        if question is not None:
            data["question"] = question.as_dict()
        self._records.tell(choice.reason, data)


def is_routed(routing: Routing | None, name: str | None) -> bool:
    """Whether a request that names this model, or none, is routed."""
    return routing is not None and (not name or name == AUTO)
