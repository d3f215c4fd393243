"""What a server remembers of its users: whose memory a request may use, and what a chat's prompt gets of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from ..engine.model import Model
from ..errors import Error
from ..memory import LOCAL, Memory, ModelEmbedder, Recalled, StoredExamples
from ..memory.prompts import question_of
from ..store import Project
from ..store.checks import storable
from .bodies import Body
from .constraining import Form
from .failures import Failure
from .telling import tell

if TYPE_CHECKING:
    from .answering import Ask
    from .models import Served
    from .server import Server
    from .settings import ServeSettings

_MOST_USER = 128  # characters
_MOST_PROJECTS = 64  # whose examples are kept in memory


class Remembering:
    """The memories of a server. `n_*`: prompts that asked, that got something, and the same of examples."""

    def __init__(self, settings: ServeSettings) -> None:
        self.n_prompts = 0
        self.n_recalled = 0
        self.n_examples = 0
        self.n_repeats = 0
        self._path = settings.memory_embedding
        self.embedder: ModelEmbedder | None = None  # once it is loaded
        self._loading = asyncio.Lock()
        self._examples: dict[int, StoredExamples] = {}  # by project, the latest last

    def use(self, settings: ServeSettings, embedder: ModelEmbedder | None) -> None:
        """Compare documents by this embedding model, which is loaded, from now on."""
        self._path, self.embedder = settings.memory_embedding, embedder

    async def memory(self, project: Project, user: str) -> Memory:
        """The memory of a user; the embedding model is loaded for the first one."""
        async with self._loading:
            if (path := self._path) and self.embedder is None:
                loaded = ModelEmbedder(await asyncio.to_thread(Model.load, path))
                self.embedder = loaded if path == self._path else self.embedder
        return Memory(project, user, self.embedder)

    def examples(self, project: Project) -> StoredExamples:
        """The approved examples of a project, of which only new ones are read again."""
        number = project.examples.project_id
        known = self._examples.pop(number, None) or StoredExamples(project)
        self._examples[number] = known
        while len(self._examples) > _MOST_PROJECTS:
            self._examples.pop(next(iter(self._examples)), None)
        return known

    def counted(self, recalled: Recalled) -> None:
        """Count what a prompt got."""
        self.n_prompts += 1
        self.n_recalled += bool(recalled.text)
        self.n_examples += bool(recalled.examples)
        self.n_repeats += recalled.answer is not None


def user_of(request: Request, server: Server, given: str | None) -> str:
    """Who a memory belongs to: the API key, or `local` where none is needed; `given` tells its users apart."""
    base = str(request.scope.get("flyball.client", "")) if server.settings.needs_key else LOCAL
    if given and not (len(given) <= _MOST_USER and storable(given)):
        what = f"user: must be at most {_MOST_USER} characters that a database stores"
        raise Failure(400, what, param="user", code="invalid_value")
    return f"{base}/{given}" if given else base


async def recall(
    request: Request, body: Body, server: Server, served: Served, messages: Sequence[Mapping[str, Any]], project: str
) -> Recalled | None:
    """What the prompt of a chat gets; None: it asks for no memory. Facts of the last message are learned before.

    Raises Failure where it asks for one and there is none: no answer goes without it in silence.
    """
    settings, store = server.settings, server.records.store
    if not body.flag("memory", settings.memory and store is not None):
        return None
    if store is None:
        raise Failure(501, "this server remembers nothing: it was started without a store", param="memory")
    if "last-event-id" in request.headers:
        what = "a stream with memory is not resumed: what is remembered may have changed; ask again"
        raise Failure(400, what, param="Last-Event-ID", code="not_resumable")
    given = body.get("user")
    user = user_of(request, server, given if isinstance(given, str) else None)
    body.honored.add("user")

    def count(text: str) -> int:
        return len(served.model.tokenize(text, add_special=False))

    def work(memory: Memory, examples: StoredExamples | None) -> Recalled:
        if settings.memory_learn:
            memory.learn(question_of(messages)[0])
        most = min(settings.memory_tokens, served.context // 4)
        return memory.recall(messages, count, most, examples, settings.memory_examples)

    try:
        rows = await asyncio.to_thread(store.project, project)
        examples = server.remembering.examples(rows) if settings.memory_examples else None
        recalled = await asyncio.to_thread(work, await server.remembering.memory(rows, user), examples)
    except Error as error:
        raise Failure.of(error) from None
    server.remembering.counted(recalled)
    return recalled


def form_of(recalled: Recalled | None, form: Form | None, tools: object) -> Form | None:
    """The form of an answer: where its very question was corrected, the approved answer, unless the request has one."""
    if recalled is None or recalled.answer is None or form is not None or tools:
        return form
    return Form("memory", "choice", [recalled.answer])


def told(request: Request, server: Server, ask: Ask, recalled: Recalled) -> Ask:
    """The question with the ids of what its prompt got; the journal and the response's headers have them as well."""
    tell(request.scope, "flyball-memory", ", ".join(recalled.ids))
    if recalled.ids:
        server.records.tell("MEMORY_RECALLED", {"answer": ask.id, "ids": list(recalled.ids)})
    return replace(ask, memory=recalled.ids)
