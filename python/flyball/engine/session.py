"""A session: one sequence with its cache of keys and values, for one thread at a time."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from .. import _core
from .._core import GenerationCore, PolicyCore
from ..errors import Error, InvalidArgument
from .batching import AsyncStream, Job, awaited
from .handle import ModelHandle, Progress, Prompt
from .options import DEFAULT_MAX_TOKENS, DraftSource, GenerateKeywords, GenerateOptions, governor_words, integer
from .receipt import Receipt
from .results import Decision, GovernorState, Metrics, Piece, Result, SessionMetrics

if TYPE_CHECKING:
    from concurrent.futures import Future
    from typing import Unpack

    import numpy as np
    import numpy.typing as npt


class Observer(Protocol):
    """A Policy, as a session sees it."""

    _core: PolicyCore

    def _turn_ended(self, generation: GenerationCore) -> None: ...

    def _wanted_cache(self) -> tuple[int, str]: ...


class Stream(Iterator[Piece]):
    """The pieces of an answer as they come; `result` holds the whole answer once they have ended.

    Left early, it is to be closed: close() ends the answer with stop_reason "interrupted" and gives the Result so far.
    """

    def __init__(self, core: _core.GenerationCore, finish: Callable[[_core.GenerationCore], Result]) -> None:
        self._core = core
        self._make_result = finish
        self._done: Callable[[Result], None] | None = None
        self._result: Result | None = None

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Piece:
        if self._result is not None:
            raise StopIteration
        token, logprob, text, done = self._core.step()
        if done:
            self._finish()
            if token is None and not text:
                raise StopIteration
        return Piece(text, token, logprob)

    def when_done(self, call: Callable[[Result], None]) -> None:
        """Have `call` called with the answer when it is complete."""
        self._done = call

    def cancel(self) -> None:
        """Ask the running or next step to end the answer; may be called from any thread."""
        self._core.cancel()

    def close(self) -> Result:
        """End the answer now and give what there is of it."""
        if self._result is None:
            self._core.cancel()
            for _ in self:
                pass
        return self.result

    @property
    def result(self) -> Result:
        """The answer; an error while it is not complete."""
        if self._result is None:
            raise InvalidArgument("stream", "is not at its end; take all pieces, or close() it")
        return self._result

    def _finish(self) -> None:
        self._result = self._make_result(self._core)
        if self._done:
            self._done(self._result)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Session:
    """A sequence of tokens with its cache. Made by Model.session(); two threads at once get SessionBusy.

    Each prompt is the whole text: the longest prefix that the cache already holds is not computed again, which changes
    the time and never the answer.
    """

    def __init__(self, model: ModelHandle, core: _core.SessionCore) -> None:
        self._model = model
        self._core = core
        self.policy: Observer | None = None  # that looks after it
        self._draft: tuple[DraftSource, _core.SessionCore] | None = None

    @property
    def context(self) -> int:
        """Positions that the cache has room for."""
        return self._core.context

    @property
    def cache_type(self) -> str:
        """Type of the cached keys and values: f16, f32 or q8_0."""
        return self._core.cache_type

    @property
    def cache_bytes(self) -> int:
        """Memory of the cache."""
        return self._core.cache_bytes

    @property
    def tokens(self) -> list[int]:
        """Ids whose keys and values the cache holds."""
        return self._core.tokens()

    @property
    def metrics(self) -> SessionMetrics:
        """Counts since the session was made."""
        return SessionMetrics.from_counts(self._core.metrics(), _core.cycles_per_second())

    @property
    def governor(self) -> GovernorState:
        """What governs the session, and what it has learnt."""
        fields = self._core.governor()
        return GovernorState(**fields | {"settings": json.loads(fields["settings"])})

    def govern(self, settings: Mapping[str, object]) -> None:
        """Have `settings` (configuration keys autotune.* and guard.*, others at their defaults) hold from now on."""
        self._core.govern(governor_words(settings))

    def generate(
        self,
        prompt: Prompt,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        *,
        progress: Progress | None = None,
        **options: Unpack[GenerateKeywords],
    ) -> Result:
        """Answer `prompt` (text or token ids) and give the whole answer. Options: see GenerateOptions."""
        core = self._begin(prompt, max_tokens, options, progress)
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
        """The same, piece by piece. The prompt is computed before this returns."""
        return Stream(self._begin(prompt, max_tokens, options, progress), self._finish)

    async def agenerate(
        self, prompt: Prompt, max_tokens: int = DEFAULT_MAX_TOKENS, **options: Unpack[GenerateKeywords]
    ) -> Result:
        """generate() for asyncio: computed together with all other running answers of the model."""
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
        make_options(max_tokens, options).for_core()  # what is wrong is said to the caller, not to the batch
        job = Job(lambda: self._begin(prompt, max_tokens, options, compute=False), self._finish, on_piece)
        return self._model.batcher.submit(job)

    def _finish(self, core: _core.GenerationCore) -> Result:
        """The Result of a generation that is done; the policy has seen it, and what the journal was told is kept."""
        if self.policy is not None:
            try:
                self.policy._turn_ended(core)
            except Error as error:  # the answer is there
                warnings.warn(f"the policy could not ask the model: {error}", RuntimeWarning, stacklevel=2)
            self._follow()
        self._model.keep_journal()
        return make_result(core)

    def _follow(self) -> None:
        """Take the cache that the policy wants. A text that is too long for it goes on in the one that there is."""
        if self.policy is None:
            return
        context, cache_type = self.policy._wanted_cache()
        if (context, cache_type) != (self.context, self.cache_type) and len(self.tokens) < context:
            settings = self._core.governor()["settings"]
            self._core = self._model.new_session(context, cache_type, governor=json.loads(settings))

    def logits(
        self, ids: Iterable[int], batch: int = 192, *, progress: Progress | None = None
    ) -> npt.NDArray[np.float32]:
        """Logits of every position, float32 of shape (len(ids), n_vocab). The cache is cleared first."""
        return self._core.logits(ids, integer("batch", batch, 1), progress)

    def embed(
        self, text: Prompt, pooling: str = "mean", normalize: bool = True, batch: int = 192
    ) -> npt.NDArray[np.float32]:
        """Hidden states after the last norm, pooled over positions (mean, last, first): float32 of shape (n_embd,)."""
        return self._core.embed(self._model.ids(text), pooling, bool(normalize), integer("batch", batch, 1))

    def reset(self) -> None:
        """Forget the cache."""
        self._core.reset()
        self._follow()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write tokens and cache to a file; restore() continues with equal bits."""
        self._core.save(os.fsencode(path))

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Read a saved session of the same model and settings; on an error this session is unchanged."""
        self._core.restore(os.fsencode(path))

    def _begin(
        self,
        prompt: Prompt,
        max_tokens: int,
        options: GenerateKeywords,
        progress: Progress | None = None,
        compute: bool = True,
    ) -> _core.GenerationCore:
        """A generation of the core; `compute`: with its prompt computed."""
        checked = make_options(max_tokens, options)
        settings = checked.for_core() | {
            "draft": self._draft_core(checked.draft if checked.speculate != "off" else None),
            "policy": self.policy and self.policy._core,
        }
        return self._core.begin(self._model.ids(prompt), settings, progress, compute)

    def _draft_core(self, draft: DraftSource | None) -> _core.SessionCore | None:
        """A session of the draft model that follows this one; kept, so that it follows from turn to turn."""
        if draft is None:
            return None
        if self._draft is None or self._draft[0] is not draft:
            self._draft = draft, draft._new_draft(self.context)
        return self._draft[1]


def make_options(max_tokens: int, options: GenerateKeywords) -> GenerateOptions:
    """GenerateOptions from keyword arguments; an unknown one is named."""
    try:
        return GenerateOptions(max_tokens=max_tokens, **options)
    except TypeError as error:
        raise TypeError(str(error).replace("GenerateOptions.__init__()", "generate()")) from None


def make_result(core: _core.GenerationCore) -> Result:
    """The Result of a generation that is done."""

    def make_receipt() -> tuple[str, Receipt]:
        digest, receipt = _core.receipt_make(core)
        return digest, Receipt(receipt)

    return Result(
        text=core.text,
        tokens=tuple(core.tokens),
        logprobs=tuple(core.logprobs),
        stop_reason=core.stop_reason,
        metrics=Metrics.from_counts(core.metrics(), _core.cycles_per_second()),
        prompt=tuple(core.prompt),
        decisions=tuple(Decision(at, reason, json.loads(data)) for at, reason, data in core.decisions()),
        _make_receipt=make_receipt,
    )
