"""What plugins get unasked: exporters each finished answer, learners each newly approved example."""

from __future__ import annotations

import asyncio
import time
import warnings
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from ..engine.results import Result
from ..errors import Unavailable
from ..plugins.found import Found, Plugin
from ..plugins.hooks import Answer, Example
from ..plugins.permission import Refused, permitted
from ..plugins.pool import Pool
from ..plugins.process import Allowed, PluginError, PluginTold
from ..store.question import plain

if TYPE_CHECKING:
    from .answering import Answering
    from .records import Records

_LEARN_SECONDS = 10.0
_MOST_HELD = 1000  # answers for exporters
_MOST_AT_ONCE = 50  # of them, and of examples, in one call: a line has its bound
_MOST_TEXT = 2000  # characters of each text


class Feeds:
    """For the event loop's thread alone."""

    def __init__(self, records: Records, found: Found, pool: Pool) -> None:
        self._records = records
        self._found = found
        self._pool = pool
        self._held: deque[tuple[str, Answer]] = deque(maxlen=_MOST_HELD)
        self._revisions: dict[tuple[str, str], int] = {}  # of examples that a learner has got
        self._learned = 0.0
        self._exporters, self._learners = (self._of_kind(kind) for kind in ("exporter", "learner"))

    def finished(self, answering: Answering, result: Result | None) -> None:
        """An answer has ended: exporters get it soon."""
        if result is None or not self._exporters:
            return
        answer = about(answering, result)
        if any(plugin.manifest.permissions.text for plugin in self._exporters):
            prompt = answering.ask.served.model.detokenize(result.prompt, special=True)
            question, text = prompt[-_MOST_TEXT:], result.text[:_MOST_TEXT]
            answer = replace(answer, question=question, text=text)
        self._held.append((answering.ask.project, answer))

    async def give(self) -> None:
        """Give what there is now."""
        await self._export()
        if self._learners and time.monotonic() - self._learned > _LEARN_SECONDS:
            self._learned = time.monotonic()
            await self._learn()

    async def _export(self) -> None:
        held: dict[str, list[Answer]] = {}
        while self._held:
            project, answer = self._held.popleft()
            held.setdefault(project, []).append(answer)
        for project, answers in held.items():
            for plugin in await self._allowed_of(project, self._exporters):
                values = [asdict(answer) for answer in answers]
                if not plugin.manifest.permissions.text:
                    values = [value | {"question": None, "text": None} for value in values]
                await self._give(project, plugin, "exporter", values)

    async def _learn(self) -> None:
        """Give learners the examples that were approved since they were last asked; at first, since the start."""
        store = self._records.store
        for project in await asyncio.to_thread(store.projects) if store is not None else ():
            for plugin in await self._allowed_of(project, self._learners):
                place = project, plugin.name
                since = self._revisions.get(place)
                newest, values = await asyncio.to_thread(self._approved, project, since or 0)
                self._revisions[place] = newest
                if since is not None:
                    await self._give(project, plugin, "learner", values)

    def _approved(self, project: str, since: int) -> tuple[int, list[dict[str, Any]]]:
        assert self._records.store is not None
        values, newest = [], since
        for example in self._records.store.project(project).examples.changed_since(since):
            newest = max(newest, example.revision or 0)
            if example.state == "approved":
                names = ("id", "kind", "answer", "family")
                members = {name: getattr(example, name) for name in names}
                values.append(asdict(Example(question=plain(example.question), **members)))
        return newest, values

    async def _give(self, project: str, plugin: Allowed, kind: str, values: list[dict[str, Any]]) -> None:
        for start in range(0, len(values), _MOST_AT_ONCE):
            try:
                await self._pool.call(project, plugin, kind, values[start : start + _MOST_AT_ONCE])
            except (PluginError, PluginTold, Unavailable) as error:
                warn(error)

    async def _allowed_of(self, project: str, plugins: Sequence[Plugin]) -> list[Allowed]:
        """Those of the plugins that a project allows; it was not asked for them, so others are no error."""
        if (store := self._records.store) is None or not plugins:
            return []
        found, rows = [], await asyncio.to_thread(lambda: store.project(project).plugins.all())
        decisions = {row.name: row for row in rows}
        for plugin in plugins:
            try:
                found.append(permitted(plugin.name, self._found, decisions.get(plugin.name)))
            except (Refused, Unavailable):
                continue
        return found

    def _of_kind(self, kind: str) -> list[Plugin]:
        return [plugin for plugin in self._found.plugins.values() if kind in plugin.manifest.capabilities]


def warn(what: object) -> None:
    """Tell it where the server runs."""
    warnings.warn(str(what), RuntimeWarning, stacklevel=2)


def about(answering: Answering, result: Result) -> Answer:
    """What plugins are told of an answer, texts aside."""
    ask, times = answering.ask, answering.times
    return Answer(
        id=ask.id,
        model=ask.served.name,
        api=ask.api,
        digest=result.digest,
        seed=result.seed,
        stop_reason=result.stop_reason,
        n_prompt_tokens=len(result.prompt),
        n_generated_tokens=len(result.tokens),
        ms=int(1000 * ((times.ended or time.monotonic()) - times.asked)),
        adapter=ask.adapter,
        cached=answering.known is not None,
    )
