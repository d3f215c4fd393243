"""A session: one sequence of tokens with its KV cache, for one thread at a time."""

from __future__ import annotations

import json
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, cast

from .. import _core
from .._core import GenerationCore, PolicyCore
from ..errors import Error, InvalidArgument
from ..paths import AnyPath, expanded
from ..pickling import Unpicklable
from .adapter import Adapter
from .asynchronous import AsyncStream, awaited
from .batching import Job
from .handle import ModelHandle, Progress, Prompt, is_many, session_adapter
from .model_file import ModelFile
from .options import (
    DEFAULT_MAX_TOKENS,
    MAX_TOP_LOGPROBS,
    DraftSource,
    GenerateKeywords,
    GenerateOptions,
    circumstances,
    governor_words,
    integer,
    make_options,
    real,
)
from .results import (
    Decision,
    GovernorState,
    LastDecision,
    Metrics,
    Piece,
    Result,
    Score,
    SessionMetrics,
    TopLogprob,
    make_piece,
)

if TYPE_CHECKING:
    from concurrent.futures import Future
    from typing import Unpack

    import numpy as np
    import numpy.typing as npt


class Observer(Protocol):
    """The part of Policy that a session uses."""

    _core: PolicyCore

    def _turn_ended(self, generation: GenerationCore) -> None: ...

    def _wanted_cache(self) -> tuple[int, str]: ...


@dataclass(frozen=True)
class Request:
    """A prompt and the options of its answer: values alone, checked but for what depends on the session."""

    ids: list[int]
    options: GenerateOptions
    settings: dict[str, object]

    @classmethod
    def of(cls, model: ModelHandle, prompt: Prompt, max_tokens: int, options: GenerateKeywords) -> Request:
        """From the arguments of generate(); raises InvalidArgument."""
        made = make_options(max_tokens, options)
        constraint = made.one_constraint()
        settings = made.for_core() | {"constraint": constraint and model.constraints.compile(constraint)}
        return cls(list(model.ids(prompt)), made, settings)

    def with_circumstances(self, known: Iterable[int], deadline: float | None, prefix_root: bytes) -> Request:
        """The same question with options that change no answer."""
        return replace(self, settings=self.settings | circumstances(known, deadline, prefix_root))


class Stream(Unpicklable, Iterator[Piece]):
    """The pieces of an answer as they come; afterwards `result` is the whole answer.

    To stop early, call close(): it ends the answer with stop_reason "interrupted" and returns the Result so far.
    cancel() and close() may be called from any thread.
    """

    _instead = "it computes an answer; take its `result`"

    def __init__(self, core: _core.GenerationCore, finish: Callable[[_core.GenerationCore], Result]) -> None:
        self._core = core
        self._make_result = finish
        self._done: Callable[[Result], None] | None = None
        self._result: Result | None = None
        self._stepping = threading.RLock()  # the caller of when_done may call back

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Piece:
        with self._stepping:
            if self._result is not None:
                raise StopIteration
            token, logprob, text, done = self._core.step()
            if done:
                self._finish()
        if done and token is None and not text:
            raise StopIteration
        return make_piece(self._core, token, logprob, text)

    @property
    def prompt(self) -> tuple[int, ...]:
        """The token ids of the prompt."""
        return tuple(self._core.prompt)

    def when_done(self, call: Callable[[Result], None]) -> None:
        """Call `call` with the Result when the answer is complete."""
        self._done = call

    def cancel(self) -> None:
        """End the answer in the running or next step."""
        self._core.cancel()

    def close(self) -> Result:
        """End the answer now; returns the Result so far."""
        self._core.cancel()
        with self._stepping:
            if self._result is None:
                self._core.end()
                self._finish()
        return self.result

    @property
    def result(self) -> Result:
        """The Result; raises InvalidArgument while the answer is not complete."""
        if self._result is None:
            raise InvalidArgument("stream", "is not complete; take all pieces, or close() it")
        return self._result

    def _finish(self) -> None:
        self._result = self._make_result(self._core)
        if self._done:
            self._done(self._result)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        try:
            self.close()
        except Error:
            if error is None:  # else that one says what went wrong first
                raise


class Session(Unpicklable):
    """A sequence of tokens with its KV cache. Made by Model.session(); concurrent use raises SessionBusy.

    Each prompt is the whole text: the longest prefix already in the cache is not computed again, which changes the
    time and never the answer.
    """

    _instead = "it owns a cache; save() and restore() move its content to another of Model.session()"

    def __init__(
        self,
        model: ModelHandle,
        core: _core.SessionCore,
        adapter: Adapter | None = None,
        adapter_scale: float = 1.0,
    ) -> None:
        self._model = model
        self._core = core
        self._adapter = adapter, adapter_scale
        self.policy: Observer | None = None  # the policy that manages this session
        self._draft: tuple[DraftSource, _core.SessionCore] | None = None

    @property
    def context(self) -> int:
        """The context limit: tokens that the cache has room for."""
        return self._core.context

    @property
    def cache_type(self) -> str:
        """Type of the cached keys and values: f16, f32 or q8_0."""
        return self._core.cache_type

    @property
    def cache_bytes(self) -> int:
        """Bytes of the cache."""
        return self._core.cache_bytes

    @property
    def adapter(self) -> Adapter | None:
        """The adapter of answers that choose none of their own, and of logits, scores and embeddings."""
        return self._adapter[0]

    @property
    def adapter_scale(self) -> float:
        """The factor of what the adapter adds."""
        return self._adapter[1]

    def set_adapter(self, adapter: Adapter | None, scale: float = 1.0) -> None:
        """Use another adapter, or none, from the next answer on."""
        self._core.set_adapter(session_adapter(adapter), real("scale", scale))
        self._adapter = adapter, scale

    @property
    def tokens(self) -> list[int]:
        """Token ids whose keys and values are in the cache."""
        return self._core.tokens()

    @property
    def metrics(self) -> SessionMetrics:
        """Totals since the session was created."""
        return SessionMetrics.from_counts(self._core.metrics(), _core.cycles_per_second())

    @property
    def governor(self) -> GovernorState:
        """The governor's settings and state."""
        fields = self._core.governor()
        for name in ("last_guard_stop", "last_autotune"):
            if (last := fields[name]) is not None:
                fields[name] = LastDecision(last[0], last[1], json.loads(last[2]))
        return GovernorState(**fields | {"settings": json.loads(fields["settings"])})

    def govern(self, settings: Mapping[str, object]) -> None:
        """Replace the governor's settings (configuration keys autotune.* and guard.*; others get their defaults)."""
        self._core.govern(governor_words(settings))

    def generate(
        self,
        prompt: Prompt,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        *,
        progress: Progress | None = None,
        **options: Unpack[GenerateKeywords],
    ) -> Result:
        """Answer `prompt` (text or token ids); returns the whole answer. Options: see GenerateOptions."""
        core = self._begin(Request.of(self._model, prompt, max_tokens, options), progress)
        core.run()
        return self._finish(core)

    def stream(
        self,
        prompt: Prompt,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        *,
        progress: Progress | None = None,
        **options: Unpack[GenerateKeywords],
    ) -> Stream:
        """As generate(), piece by piece. The prompt is computed before this returns."""
        request = Request.of(self._model, prompt, max_tokens, options)
        return Stream(self._begin(request, progress), self._finish)

    async def agenerate(
        self, prompt: Prompt, max_tokens: int = DEFAULT_MAX_TOKENS, **options: Unpack[GenerateKeywords]
    ) -> Result:
        """generate() for asyncio, batched with all other running answers of the model.

        Until it ends, other work of the session raises SessionBusy.
        """
        return await awaited(self._submit(prompt, max_tokens, options))

    def astream(
        self, prompt: Prompt, max_tokens: int = DEFAULT_MAX_TOKENS, **options: Unpack[GenerateKeywords]
    ) -> AsyncStream:
        """stream() for asyncio: `async for piece in session.astream(...)`."""
        return AsyncStream(lambda on_piece: self._submit(prompt, max_tokens, options, on_piece))

    def _submit(
        self,
        prompt: Prompt,
        max_tokens: int,
        options: GenerateKeywords,
        on_piece: Callable[[Piece], None] | None = None,
    ) -> Future[Result]:
        request = Request.of(self._model, prompt, max_tokens, options)
        self._check(request)  # here, not in the batch thread
        job = Job(_SessionWork(self, request), on_piece)
        self._model.batcher.submit([job])
        return job.future

    def _check(self, request: Request) -> None:
        """Raise what _begin() would raise for the request."""
        self._core.check(request.ids, self._settings(request))

    def request_key(
        self, prompt: Prompt, max_tokens: int = DEFAULT_MAX_TOKENS, **options: Unpack[GenerateKeywords]
    ) -> str:
        """The `request_key` of the Result that generate() would give, without computing it.

        Where a governor or a policy bounds the answer's settings, the Result's is that of the bounded ones.
        """
        return self._request_key(Request.of(self._model, prompt, max_tokens, options))

    def _request_key(self, request: Request) -> str:
        if request.options.seed is None:
            raise InvalidArgument("seed", "is None, so that each answer draws another: choose a number to have a key")
        settings = request.settings | {"draft": None}
        return self._core.request_key(request.ids, settings, self._model.file.fingerprint())

    def _finish(self, core: _core.GenerationCore) -> Result:
        """The Result of a finished generation; informs the policy and writes the journal."""
        if self.policy is not None:
            try:
                self.policy._turn_ended(core)
            except Error as error:  # must not lose the answer
                warnings.warn(f"the policy could not ask the model: {error}", RuntimeWarning, stacklevel=2)
            self._follow()
        self._model.keep_journal()
        return make_result(core, self._model.file)

    def _follow(self) -> None:
        """Switch to the cache that the policy wants, unless the text so far does not fit in it."""
        if self.policy is None:
            return
        context, cache_type = self.policy._wanted_cache()
        if (context, cache_type) != (self.context, self.cache_type) and len(self.tokens) < context:
            settings = self._core.governor()["settings"]
            adapter, scale = self._adapter
            self._core = self._model.new_session(
                context, cache_type, governor=json.loads(settings), adapter=adapter, adapter_scale=scale
            )

    def logits(
        self, ids: Iterable[int], batch: int = 192, *, progress: Progress | None = None
    ) -> npt.NDArray[np.float32]:
        """Logits of every position, float32 of shape (len(ids), n_vocab). The cache is cleared first."""
        return self._core.logits(ids, integer("batch", batch, 1), progress)

    def last_logits(
        self, ids: Iterable[int], batch: int = 192, *, progress: Progress | None = None
    ) -> npt.NDArray[np.float32]:
        """Logits of the last position alone, float32 of shape (n_vocab,). The cache is cleared first."""
        return self._core.last_logits(ids, integer("batch", batch, 1), progress)

    def score(
        self, text: Prompt, top_logprobs: int = 0, batch: int = 192, *, progress: Progress | None = None
    ) -> Score:
        """How likely the model finds each token of `text` (text or token ids). The cache is cleared first."""
        n_top = integer("top_logprobs", top_logprobs, most=MAX_TOP_LOGPROBS)
        tokens, logprobs, top = self._core.score(self._model.ids(text), n_top, integer("batch", batch, 1), progress)
        tops = tuple(tuple(map(TopLogprob._make, row)) for row in top) if n_top else ()
        return Score(tuple(tokens), tuple(logprobs), tops)

    def embed(
        self, text: Prompt | Sequence[Prompt], pooling: str = "auto", normalize: bool = True, batch: int = 192
    ) -> npt.NDArray[np.float32]:
        """Hidden states after the last norm, pooled over positions: float32 of shape (n_embd,).

        `pooling`: mean, last, first, or auto: as the file's pooling_type says, else mean.
        A list of n texts (or of lists of ids) gives shape (n, n_embd), each row with the bits that its text gives
        alone; all are checked before the first is computed.
        """
        batch = integer("batch", batch, 1)
        if not is_many(text):
            return self._core.embed(self._model.ids(cast("Prompt", text)), pooling, bool(normalize), batch)
        import numpy as np

        prompts = self._model.ids_of_many(text, self.context)
        return np.stack([self._core.embed(ids, pooling, bool(normalize), batch) for ids in prompts])

    def reset(self) -> None:
        """Clear the cache."""
        self._core.reset()
        self._follow()

    def save(self, path: AnyPath) -> None:
        """Write tokens and cache to a file; restore() continues with the same bits."""
        self._core.save(os.fsencode(expanded(path)))

    def restore(self, path: AnyPath) -> None:
        """Read a saved session of the same model and settings; on an error this session is unchanged."""
        self._core.restore(os.fsencode(expanded(path)))

    def _begin(self, request: Request, progress: Progress | None = None, compute: bool = True) -> _core.GenerationCore:
        """A generation of the core. `compute`: also compute its prompt; False: for the batch."""
        return self._core.begin(request.ids, self._settings(request), progress, compute)

    def _settings(self, request: Request) -> dict[str, object]:
        """The request's settings, with what this session adds."""
        options = request.options
        return request.settings | {
            "draft": self._draft_core(options.draft if options.speculate != "off" else None),
            "policy": self.policy and self.policy._core,
        }

    def _draft_core(self, draft: DraftSource | None) -> _core.SessionCore | None:
        """The draft model's session for this one, kept so that its cache serves the next turn too."""
        if draft is None:
            return None
        if self._draft is None or self._draft[0] is not draft:
            self._draft = draft, draft._new_draft(self.context)
        return self._draft[1]

    def _forget_draft(self) -> None:
        """Let go of the draft model."""
        self._draft = None


def top_logprobs(core: _core.GenerationCore) -> tuple[tuple[TopLogprob, ...], ...]:
    """For each of the answer's tokens the likeliest ones in its place; () if none were asked for."""
    if not core.n_top_logprobs:
        return ()
    return tuple(tuple(map(TopLogprob._make, core.top_logprobs(i))) for i in range(core.n_tokens))


class _SessionWork:
    """An answer of a session that is reserved for it."""

    def __init__(self, session: Session, request: Request) -> None:
        self._session = session
        self._request = request
        self._reserved = session._core  # a policy may give the session another one at the answer's end
        self._reserved.reserve()

    def begin(self) -> _core.GenerationCore:
        return self._session._begin(self._request, compute=False)

    def finish(self, core: _core.GenerationCore) -> Result:
        return self._session._finish(core)

    def leave(self) -> None:
        self._reserved.release()


def _draft(core: _core.GenerationCore) -> str | Error:
    try:
        return _core.receipt_draft(core)
    except Error as error:  # the model's file has changed: the answer is delivered all the same
        return error.with_traceback(None)


def make_result(core: _core.GenerationCore, file: ModelFile) -> Result:
    """The Result of a finished generation, by value."""
    return Result(
        text=core.text,
        tokens=tuple(core.tokens),
        logprobs=tuple(core.logprobs),
        stop_reason=core.stop_reason,
        metrics=Metrics.from_counts(core.metrics(), _core.cycles_per_second()),
        prompt=tuple(core.prompt),
        decisions=tuple(Decision(at, reason, json.loads(data)) for at, reason, data in core.decisions()),
        seed=core.seed,
        top_logprobs=top_logprobs(core),
        _draft=_draft(core),
        _file=file,
    )
