"""Plugins of a server: what a request wants of them, calling them, and what is told and recorded of that."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from ..answers.parts import ToolCall
from ..errors import Error, InvalidArgument, Unavailable
from ..plugins.found import find
from ..plugins.hooks import Answer, Question, Verdict
from ..plugins.manifest import Tool
from ..plugins.permission import Refused, permitted
from ..plugins.pool import MOST_FAILURES, Pool
from ..plugins.process import Allowed, PluginError, PluginTold
from ..store import Feedback
from .bodies import Body
from .failures import Failure
from .plugin_feeds import Feeds, warn
from .wishes import PROPOSED, wish_of

if TYPE_CHECKING:
    from .records import Records

_MOST_NAMED = 8  # plugins of one request
_LEAST_ROUNDS, _MOST_ROUNDS, _ROUNDS = 2, 16, 4  # the last one calls nothing
_LOOK_SECONDS = 1.0
_MOST_ROUTED_TEXT = 20_000
_CLOSE_SECONDS = 5.0
_NOT_RESUMED = "what plugins give may have changed; ask again without it"


@dataclass(frozen=True)
class Plan:
    """What a request wants of plugins.

    tools   by their names
    rounds  answers that are computed at most
    route   what a router proposed, as the client is told; None: none was asked
    """

    project: str
    tools: Mapping[str, tuple[Allowed, Tool]]
    guardians: Sequence[Allowed]
    rounds: int
    route: Mapping[str, Any] | None = None

    def into(self, body: Body) -> Body:
        """The request with the plugins' tools beside its own; Failure where two have one name."""
        own = body.items("tools")
        for number, tool in enumerate(own):
            function = tool.get("function") if isinstance(tool, dict) else None
            if isinstance(function, dict) and function.get("name") in self.tools:
                body.refuse(f"tools[{number}].function.name", f"{function['name']} is a tool of a plugin")
        members = {name: value for name, value in body.members.items() if name not in ("plugins", "plugin_rounds")}
        return Body(members | {"tools": [*own, *(tool.as_openai() for _, tool in self.tools.values())]})

    def without(self, tools: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The client's own of these tools."""
        return [tool for tool in tools if tool["function"]["name"] not in self.tools]


@dataclass(frozen=True)
class Called:
    """A call that was made: what the model is given, and what the client is told."""

    content: str
    told: Mapping[str, Any]


class Plugins:
    """For the event loop's thread alone. What is installed is looked for once: a new plugin needs a new start."""

    def __init__(self, records: Records, dev_folder: str = "") -> None:
        self.found = find(dev_folder or None)
        self._records = records
        self._pool = Pool(self._failed)
        self.feeds = Feeds(records, self.found, self._pool)

    async def plan(self, request: Request, body: Body, project: str, intents: Sequence[str]) -> Plan | None:
        """What a request wants; None: nothing. Failure for a plugin that its project has not allowed.

        `intents`: that its route may have; a router among the plugins then proposes one.
        """
        names = body.items("plugins")
        rounds = body.integer("plugin_rounds", _LEAST_ROUNDS, _MOST_ROUNDS, _ROUNDS) or _ROUNDS
        if not names:
            return None
        if len(names) > _MOST_NAMED or not all(isinstance(name, str) for name in names):
            body.refuse("plugins", f"must be a list of at most {_MOST_NAMED} names")
        if (body.integer("n", 1, 128, 1) or 1) > 1:
            body.refuse("n", "must be 1 where plugins are called")
        if body.flag("continue_final_message"):
            body.refuse("continue_final_message", "does not go with plugins")
        for header in ("Last-Event-ID", "Idempotency-Key"):
            if header in request.headers:
                raise Failure(400, f"{header}: {_NOT_RESUMED}", param=header, code="not_resumable")
        named = [await self._allowed(project, name) for name in dict.fromkeys(names)]
        plan = self._planned(body, project, named, rounds)
        routers = [plugin for plugin in named if "router" in plugin.manifest.capabilities]
        if not routers or not intents:
            return plan
        route = await self._propose(project, routers[0], wish_of(request, body).text, intents)
        request.scope[PROPOSED] = route.get("intent", "")
        return replace(plan, route=route)

    async def _propose(self, project: str, plugin: Allowed, text: str, intents: Sequence[str]) -> dict[str, Any]:
        """The intent that a router takes a text for. One that fails proposes none: the server's own reading holds."""
        told: dict[str, Any] = {"plugin": plugin.name, "sha256": plugin.plugin.sha256}
        question = Question(text[-_MOST_ROUTED_TEXT:], intents)
        try:
            proposal = await self._pool.call(project, plugin, "router", asdict(question))
        except (PluginError, PluginTold, Unavailable) as error:
            return told | {"error": error.what}
        if proposal is None:
            return told
        if proposal.intent not in intents:
            return told | {"error": f"proposed {proposal.intent!r}, which is no intent here"}
        self._records.tell("PLUGIN_CALLED", told | {"intent": proposal.intent})
        return told | asdict(proposal)

    def _planned(self, body: Body, project: str, named: Sequence[Allowed], rounds: int) -> Plan:
        tools: dict[str, tuple[Allowed, Tool]] = {}
        for plugin in named:
            if not {"tools", "guardian", "router"} & set(plugin.manifest.capabilities):
                body.refuse("plugins", f"names {plugin.name}, which has no tools, and is no guardian or router")
            for tool in plugin.manifest.tools:
                if tool.name in tools:
                    body.refuse("plugins", f"name two plugins with a tool {tool.name}; take one of them")
                tools[tool.name] = plugin, tool
        return Plan(project, tools, [each for each in named if "guardian" in each.manifest.capabilities], rounds)

    async def _allowed(self, project: str, name: str) -> Allowed:
        store = self._records.store
        if store is None:
            raise Failure(501, "this server calls no plugins: it was started without a store", param="plugins")
        try:
            row = await asyncio.to_thread(lambda: store.project(project).plugins.get(name))
            return permitted(name, self.found, row)
        except Refused as error:
            self._records.tell("PLUGIN_REFUSED", {"plugin": name[:64], "project": project})
            raise Failure(403, str(error), param="plugins", code=error.code) from None
        except Error as error:
            raise Failure.of(error) from None

    async def call(self, plan: Plan, call: ToolCall, answer: str) -> Called:
        """Make a model's call. Whatever goes wrong is an error that the model and the client are told."""
        plugin, tool = plan.tools[call.name]
        began = time.monotonic()
        told: dict[str, Any] = {"plugin": plugin.name, "sha256": plugin.plugin.sha256, "tool": call.name, "id": call.id}
        try:
            told["arguments"] = dict(call.mapping)
            value = {"tool": call.name, "arguments": told["arguments"]}
            content = await self._pool.call(plan.project, plugin, "tools", value, tool.parameters)
            told["result_sha256"] = hashlib.sha256(content.encode(errors="replace")).hexdigest()
            self._records.tell("PLUGIN_CALLED", {name: told[name] for name in _RECORDED} | {"answer": answer})
        except InvalidArgument:
            content = told["error"] = "the arguments are no JSON object"
            told["arguments"] = call.json
        except (PluginError, PluginTold, Unavailable) as error:
            content = told["error"] = error.what
        content = content if "error" not in told else f"error: {content}"
        return Called(content, told | {"ms": round(1000 * (time.monotonic() - began), 1)})

    async def judge(self, plan: Plan, answer: Answer) -> list[dict[str, Any]]:
        """The guardians' words on an answer, each recorded as feedback where there is a store."""
        return list(await asyncio.gather(*(self._judge(plan.project, each, answer) for each in plan.guardians)))

    async def _judge(self, project: str, plugin: Allowed, answer: Answer) -> dict[str, Any]:
        about: dict[str, Any] = {"plugin": plugin.name, "sha256": plugin.plugin.sha256}
        try:
            verdict = await self._pool.call(project, plugin, "guardian", asdict(answer))
        except (PluginError, PluginTold, Unavailable) as error:
            return about | {"error": error.what}
        if verdict is None:
            return about | {"error": "gave no verdict"}
        self._records.tell("PLUGIN_CALLED", about | {"answer": answer.id, "ok": verdict.ok})
        return about | asdict(verdict) | {"recorded": await self._record(project, plugin, answer.id, verdict)}

    async def _record(self, project: str, plugin: Allowed, answer: str, verdict: Verdict) -> bool:
        rating = "good" if verdict.ok else "bad"
        given = Feedback(
            answer_id="", voter=f"plugin:{plugin.name}", source="guardian", rating=rating, reason=verdict.reason or None
        )
        try:
            await asyncio.to_thread(self._records.rate, answer, project, given)
        except Failure:  # too many of a day, for one: the verdict counts all the same
            return False
        return True

    async def run(self) -> None:
        """Serve exporters and learners, and end idle processes, until it is canceled."""
        try:
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                try:
                    await self._pool.tidy()
                    await self.feeds.give()
                except Error as error:  # of the store: it may be back in a second
                    warn(error)
        finally:
            await self._close()

    async def _close(self) -> None:
        try:
            await asyncio.wait_for(self.feeds.give(), _CLOSE_SECONDS)
        except (TimeoutError, Error) as error:
            warn(f"the last answers were not exported: {error}")
        finally:
            await self._pool.close()

    def _failed(self, project: str, plugin: Allowed, error: PluginError, n: int) -> None:
        why = error.what.partition(":")[0]  # the rest is the plugin's words, and may have what it was asked
        data = {"plugin": plugin.name, "sha256": plugin.plugin.sha256, "project": project, "why": why}
        self._records.tell("PLUGIN_FAILED", data)
        if n >= MOST_FAILURES:
            self._records.tell("PLUGIN_QUARANTINED", data)
            if (store := self._records.store) is not None:
                name, sha256 = plugin.name, plugin.plugin.sha256
                self._records.later(
                    lambda: store.project(project).plugins.quarantine(name, sha256, error.what), stores=True
                )


_RECORDED = ("plugin", "sha256", "tool", "result_sha256")
