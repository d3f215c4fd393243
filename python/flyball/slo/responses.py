"""The cache of answers against none: the same digests, and what an answer costs that is given again.

The same four ways as those of the prefix cache (cache.py). Answers are computed as the server does it, and kept in a
store of their own; the prefix cache is off.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..engine.model import Model
from ..engine.options import GenerateKeywords
from ..engine.results import Piece, Result
from ..response_cache import Answers, CachedAnswer, Place, key_of
from ..response_cache.in_store import StoredAnswers
from ..store import Store
from ..store.store import DEFAULT_PROJECT
from .cache import CACHES, WAYS, Savings, checked
from .run import Progress, Sample, options_of, sampled
from .scenarios import Prepared, Scenario, prepare

_OTHER = "other"
_HOUR_MS = 3_600_000
_MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class Asking:
    """A scenario as one project asks it. `answers` None: there is no cache."""

    model: Model
    prepared: Prepared
    project: str = DEFAULT_PROJECT
    answers: Answers | None = None

    async def all(self) -> list[Result]:
        """The answers of an iteration."""
        scenario = self.prepared.scenario
        if len(scenario.turns) < 2:
            return list(await asyncio.gather(*(self._one(prompt) for prompt in self.prepared.prompts)))
        chat, results = self.model.chat(), []
        for text in (self.prepared.first, *scenario.turns[1:]):
            results.append(await self._one(chat.prompt(text)))
            said = {"role": "assistant", "content": results[-1].text}
            chat.history = [*chat.history, {"role": "user", "content": text}, said]
        return results

    async def _one(self, prompt: Sequence[int]) -> Result:
        options: GenerateKeywords = options_of(self.prepared)
        question = self.model.prepare(prompt, self.prepared.scenario.max_tokens, **options)
        key = key_of(question.request_key, 0)
        place = Place(self.project, self.model.info.fingerprint, "", key)
        if self.answers is not None and (raw := self.answers.get(place)) is not None:
            known = CachedAnswer.decode(raw, self.project, key, question.request_key)
            return question.given_again(known.receipt, known.pieces, known.cached_tokens)
        pieces: list[Piece] = []
        ended = asyncio.Event()
        future = question.submit(lambda piece: ended.set() if piece is None else pieces.append(piece))
        await ended.wait()
        result = future.result()
        if self.answers is not None:
            self.answers.put(place, CachedAnswer.of(result.digest, result, pieces).encode(self.project, key))
        return result

    def measured(self) -> Sample:
        """An iteration. Its tokens that were not computed are those that were saved."""
        sample, results = sampled(lambda: asyncio.run(self.all()))
        known = [each for each in results if not each.metrics.total_cycles]
        return replace(sample, cached_tokens=sum(len(each.prompt) + len(each.tokens) for each in known))


def compare(model: Model, scenario: Scenario, iterations: int, progress: Progress) -> Savings:
    """Measure all ways with a model that has no prefix cache; raises InternalError if an answer depends on the way."""
    prepared = prepare(scenario, model)
    order = random.Random(scenario.name)
    samples: dict[str, list[Sample]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "store.sqlite") as store:
        store.create_project(_OTHER)
        answers = StoredAnswers(store, _HOUR_MS, _MOST_BYTES)
        off = Asking(model, prepared)
        mine, theirs = replace(off, answers=answers), replace(off, answers=answers, project=_OTHER)
        off.measured()  # warm-up
        for done in range(iterations):
            progress("compare", done, iterations)
            for project in (DEFAULT_PROJECT, _OTHER):
                answers.purge(project)
            rounds = [(("off", off),), (("cold", mine), ("warm", mine), ("foreign", theirs))]
            for way, asking in (each for ways in order.sample(rounds, 2) for each in ways):
                samples[way].append(asking.measured())
    progress("compare", iterations, iterations)
    return checked(scenario.name, samples, CACHES["response"])
