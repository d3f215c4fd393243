"""Answers that a model computes together: lists of prompts, and single ones of asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast, overload

from .._cached import cached
from ..errors import Error, InvalidArgument
from .asynchronous import AsyncStream, awaited, delivered
from .batching import Job
from .handle import ModelHandle, Prompt
from .options import DEFAULT_MAX_TOKENS, GenerateKeywords, integer
from .receipt import Receipt
from .results import Piece, Result
from .session import Request

if TYPE_CHECKING:
    from concurrent.futures import Future
    from typing import Unpack


class ManyKeywords(GenerateKeywords, total=False):
    """Keyword arguments of calls with many prompts.

    parallel  how many of the call's answers are computed at once; 16
    each      for each prompt its own options, over the common ones: mappings, which may have max_tokens
    """

    parallel: int
    each: Iterable[Mapping[str, Any]] | None


class Prepared:
    """A question that was checked once, for programs that compute very many answers: see Model.prepare()."""

    def __init__(self, model: Together, request: Request) -> None:
        self._model = model
        self._request = request

    @cached
    def request_key(self) -> str:
        """As Model.request_key()."""
        return self._model._key(self._request)

    def given_again(self, receipt: Receipt, pieces: Sequence[Piece], cached_tokens: int) -> Result:
        """As Result.given_again(), of this question. Raises InvalidArgument for another one's receipt."""
        if receipt.request_key != self.request_key:
            raise InvalidArgument("receipt", "is of another question")
        return Result.given_again(receipt, pieces, cached_tokens, self._model._handle.file)

    def submit(
        self,
        take: Callable[[Piece | None], object],
        *,
        known: Iterable[int] = (),
        deadline: float | None = None,
        prefix_root: bytes = b"",
    ) -> Future[Result]:
        """Compute the answer. Canceling the future ends it.

        `take` gets each piece in the running event loop as soon as it is there, and None at the end; it must not raise.
        The options are those of generate() that change no answer: these, whatever prepare() was given.
        """
        request = self._request.with_circumstances(known, deadline, prefix_root)
        return delivered(partial(self._model._submit, request), take)


class Together:
    """The part of Model that computes answers in one batch.

    All prompts and options of a call are checked before anything is computed; an error says which prompt it concerns.
    With `return_exceptions`, the error of a prompt stands in place of its Result, and the others are computed.
    """

    _handle: ModelHandle

    def _request(self, prompt: Prompt, max_tokens: int, options: GenerateKeywords) -> Request:
        raise NotImplementedError

    def _job(self, request: Request, on_piece: Callable[[Piece], None] | None = None) -> Job:
        raise NotImplementedError

    def _key(self, request: Request) -> str:
        raise NotImplementedError

    @overload
    def generate_many(
        self,
        prompts: Iterable[Prompt],
        max_tokens: int = DEFAULT_MAX_TOKENS,
        *,
        return_exceptions: Literal[False] = False,
        **options: Unpack[ManyKeywords],
    ) -> list[Result]: ...

    @overload
    def generate_many(
        self,
        prompts: Iterable[Prompt],
        max_tokens: int = DEFAULT_MAX_TOKENS,
        *,
        return_exceptions: bool,
        **options: Unpack[ManyKeywords],
    ) -> list[Result | Exception]: ...

    def generate_many(
        self,
        prompts: Iterable[Prompt],
        max_tokens: int = DEFAULT_MAX_TOKENS,
        *,
        return_exceptions: bool = False,
        **options: Unpack[ManyKeywords],
    ) -> list[Any]:
        """Answer many prompts, `parallel` at a time in one batch; the results in the order of the prompts.

        Each answer has the bits that generate() gives. `each` has options of each prompt, over the common ones:
        `each=[{"seed": 1}, {"seed": 2, "max_tokens": 5}]`.
        """
        self._handle.batcher.refuse_own_thread()
        answers = self._answers(prompts, max_tokens, return_exceptions, options)
        with answers:
            return [answers.outcome(future) for future in answers.futures]

    @overload
    def generate_as_completed(
        self,
        prompts: Iterable[Prompt],
        max_tokens: int = DEFAULT_MAX_TOKENS,
        *,
        return_exceptions: Literal[False] = False,
        **options: Unpack[ManyKeywords],
    ) -> Iterator[tuple[int, Result]]: ...

    @overload
    def generate_as_completed(
        self,
        prompts: Iterable[Prompt],
        max_tokens: int = DEFAULT_MAX_TOKENS,
        *,
        return_exceptions: bool,
        **options: Unpack[ManyKeywords],
    ) -> Iterator[tuple[int, Result | Exception]]: ...

    def generate_as_completed(
        self,
        prompts: Iterable[Prompt],
        max_tokens: int = DEFAULT_MAX_TOKENS,
        *,
        return_exceptions: bool = False,
        **options: Unpack[ManyKeywords],
    ) -> Iterator[tuple[int, Any]]:
        """As generate_many(), but yields (number of the prompt, Result) as soon as an answer is complete.

        Leaving the loop early ends the answers that are not.
        """
        self._handle.batcher.refuse_own_thread()
        return self._answers(prompts, max_tokens, return_exceptions, options).as_completed()

    @overload
    async def agenerate_many(
        self,
        prompts: Iterable[Prompt],
        max_tokens: int = DEFAULT_MAX_TOKENS,
        *,
        return_exceptions: Literal[False] = False,
        **options: Unpack[ManyKeywords],
    ) -> list[Result]: ...

    @overload
    async def agenerate_many(
        self,
        prompts: Iterable[Prompt],
        max_tokens: int = DEFAULT_MAX_TOKENS,
        *,
        return_exceptions: bool,
        **options: Unpack[ManyKeywords],
    ) -> list[Result | Exception]: ...

    async def agenerate_many(
        self,
        prompts: Iterable[Prompt],
        max_tokens: int = DEFAULT_MAX_TOKENS,
        *,
        return_exceptions: bool = False,
        **options: Unpack[ManyKeywords],
    ) -> list[Any]:
        """generate_many() for asyncio."""
        found: dict[int, Any] = {}
        answers = self._answers(prompts, max_tokens, return_exceptions, options)
        async for number, result in answers.as_completed_async():
            found[number] = result
        return [found[number] for number in range(len(answers.futures))]

    @overload
    def agenerate_as_completed(
        self,
        prompts: Iterable[Prompt],
        max_tokens: int = DEFAULT_MAX_TOKENS,
        *,
        return_exceptions: Literal[False] = False,
        **options: Unpack[ManyKeywords],
    ) -> AsyncIterator[tuple[int, Result]]: ...

    @overload
    def agenerate_as_completed(
        self,
        prompts: Iterable[Prompt],
        max_tokens: int = DEFAULT_MAX_TOKENS,
        *,
        return_exceptions: bool,
        **options: Unpack[ManyKeywords],
    ) -> AsyncIterator[tuple[int, Result | Exception]]: ...

    def agenerate_as_completed(
        self,
        prompts: Iterable[Prompt],
        max_tokens: int = DEFAULT_MAX_TOKENS,
        *,
        return_exceptions: bool = False,
        **options: Unpack[ManyKeywords],
    ) -> AsyncIterator[tuple[int, Any]]:
        """generate_as_completed() for asyncio."""
        return self._answers(prompts, max_tokens, return_exceptions, options).as_completed_async()

    def prepare(
        self, prompt: Prompt, max_tokens: int = DEFAULT_MAX_TOKENS, **options: Unpack[GenerateKeywords]
    ) -> Prepared:
        """Check a question, and raise what generate() would raise for it, without computing anything."""
        return Prepared(self, self._request(prompt, max_tokens, options))

    async def agenerate(
        self, prompt: Prompt, max_tokens: int = DEFAULT_MAX_TOKENS, **options: Unpack[GenerateKeywords]
    ) -> Result:
        """generate() for asyncio, batched with all other running answers of the model."""
        return await awaited(self._submit(self._request(prompt, max_tokens, options)))

    def astream(
        self, prompt: Prompt, max_tokens: int = DEFAULT_MAX_TOKENS, **options: Unpack[GenerateKeywords]
    ) -> AsyncStream:
        """stream() for asyncio: `async for piece in model.astream(...)`."""
        request = self._request(prompt, max_tokens, options)
        return AsyncStream(partial(self._submit, request))

    def _submit(self, request: Request, on_piece: Callable[[Piece], None] | None = None) -> Future[Result]:
        job = self._job(request, on_piece)
        self._handle.batcher.submit([job])
        return job.future

    def _answers(
        self, prompts: Iterable[Prompt], max_tokens: int, return_exceptions: bool, options: ManyKeywords
    ) -> _Answers:
        common: dict[str, Any] = {"max_tokens": max_tokens, **options}
        parallel = integer("parallel", common.pop("parallel", 16), 1)
        listed = _listed("prompts", prompts)
        each = common.pop("each", None)
        own = [{}] * len(listed) if each is None else _listed("each", each)
        if len(own) != len(listed):
            raise InvalidArgument("each", f"has options for {len(own)} prompts, there are {len(listed)}")
        answers = _Answers(self._handle, parallel, return_exceptions)
        for number, prompt in enumerate(listed):
            try:
                if not isinstance(own[number], Mapping):
                    raise InvalidArgument("each", f"is {own[number]!r}, must be a mapping of options")
                keywords = common | dict(own[number])
                answers.add(self._job(self._request(prompt, keywords.pop("max_tokens"), cast(Any, keywords))))
            except Error as error:
                if not return_exceptions:
                    raise error.in_file(f"prompts[{number}]") from None
                answers.add(error)
        return answers


def _listed(name: str, values: object) -> list[Any]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise InvalidArgument(name, f"is {type(values).__name__}, must be a list with an entry for each prompt")
    return list(values)


class _Answers:
    """The answers of one call, which begin with it. Leaving it ends those that are not complete."""

    def __init__(self, model: ModelHandle, parallel: int, return_exceptions: bool) -> None:
        self.futures: list[Future[Result]] = []
        self._model = model
        self._parallel = parallel
        self._return_exceptions = return_exceptions
        self._jobs: list[Job] = []

    def add(self, answer: Job | Error) -> None:
        """A job, or the error that it has from the beginning."""
        if isinstance(answer, Job):
            self._jobs.append(answer)
            self.futures.append(answer.future)
            return
        from concurrent.futures import Future

        refused: Future[Result] = Future()
        refused.set_exception(answer.with_traceback(None))
        self.futures.append(refused)

    def __enter__(self) -> None:
        self._model.batcher.submit(self._jobs, self._parallel)

    def __exit__(self, *_: object) -> None:
        for future in self.futures:
            future.cancel()

    def outcome(self, future: Future[Result]) -> Result | Exception:
        """Wait for a Result, or its error in its place."""
        error = future.exception()
        if error is None:
            return future.result()
        if self._return_exceptions and isinstance(error, Exception):
            return error
        raise error

    def as_completed(self) -> Iterator[tuple[int, Result | Exception]]:
        from queue import SimpleQueue

        completed: SimpleQueue[int] = SimpleQueue()
        self._tell(completed.put)
        with self:
            for _ in self.futures:
                number = completed.get()
                yield number, self.outcome(self.futures[number])

    async def as_completed_async(self) -> AsyncIterator[tuple[int, Result | Exception]]:
        import asyncio

        loop = asyncio.get_running_loop()
        completed: asyncio.Queue[int] = asyncio.Queue()

        def put(number: int) -> None:
            with suppress(RuntimeError):  # the loop is closed, so there is no reader
                loop.call_soon_threadsafe(completed.put_nowait, number)

        self._tell(put)
        with self:
            for _ in self.futures:
                number = await completed.get()
                yield number, self.outcome(self.futures[number])

    def _tell(self, completed: Callable[[int], None]) -> None:
        for number, future in enumerate(self.futures):
            future.add_done_callback(lambda _, number=number: completed(number))  # type: ignore[misc]
