"""A model file, loaded once and usable from many threads."""

from __future__ import annotations

import os
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from .. import _core, files
from .._cached import cached
from ..constraints.compiled import Compiler
from ..errors import FormatError, InvalidArgument
from ..paths import AnyPath, expanded
from .adapter import Adapter, load_adapter
from .batching import Batcher, Job
from .handle import Defaults, ModelHandle, Progress, Prompt, Recorder
from .many import Together
from .model_file import ModelFile
from .options import DEFAULT_MAX_TOKENS, GenerateKeywords, governor_words, integer, utf8
from .results import ModelInfo, Piece, Result, Score, Tuned
from .session import Request, Session, Stream

if TYPE_CHECKING:
    from typing import Unpack

    import numpy as np
    import numpy.typing as npt

    from ..answers.symbols import Vocabulary
    from ..constraints.constraint import Constraint
    from ..templates.template import ChatTemplate
    from .chat import Chat
    from .chat_format import ChatFormat
    from .messages import Message

_LARGE = 64 << 20
_IDLE_SESSIONS = 2  # kept for the next generate(); more would only waste memory


def demo_model_path() -> Path:
    """The bundled demonstration model."""
    return Path(__file__).parents[1] / "data" / "flyball-demo.gguf"


def isas() -> list[str]:
    """Instruction sets that this processor supports, best first. All of them give the same bits."""
    return _core.isas()


def _current_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return ""


def _is_large(path: str) -> bool:
    with suppress(OSError):
        return os.path.getsize(path) >= _LARGE
    return False


def _fingerprint_cache(path: str) -> bytes:
    """The file that remembers fingerprints; none for small models, which shall leave no folder behind."""
    return os.fsencode(files.cache_file("fingerprints.txt") or b"") if _is_large(path) else b""


def _packed_folder(path: str, use: str) -> bytes:
    """The folder of packed copies, made where one may be written."""
    return os.fsencode(files.cache_file("packed/", make=use == "on" or _is_large(path)) or b"")


def _reload(cls: type[Model], path: str, how: Mapping[str, Any]) -> Model:
    return cls.load(path, **how)


class Model(Together):
    """An immutable model. Made by Model.load(); every method may be called from many threads at once.

    A copy is the model itself. A pickle holds path and settings, and loads the file again where it is opened, so a
    model can be an argument of another process.
    """

    def __init__(self, handle: ModelHandle, path: str, how: Mapping[str, Any]) -> None:
        self._handle = handle
        self._how = how  # load()'s keyword arguments
        self._core = handle.core
        self._path = path
        self._folder = _current_folder()  # what a relative path is relative to
        weakref.finalize(self, handle.batcher.hurry).atexit = False
        self._idle: deque[Session] = deque(maxlen=_IDLE_SESSIONS)  # no lock: its methods are atomic

    @classmethod
    def load(
        cls,
        path: AnyPath,
        isa: str = "auto",
        threads: int = 0,
        context: int = 0,
        vocab_only: bool = False,
        cache_type: str = "f16",
        progress: Progress | None = None,
        decode_threads: int = 0,
        prefix_cache_mb: int = 64,
        journal: Recorder | None = None,
        governor: Mapping[str, object] | None = None,
        packed_copy: str = "auto",
        packed_copies_gb: int = 64,
    ) -> Model:
        """Map and check a GGUF file (or the first of its split parts), and prepare its weights.

        isa         an entry of flyball.isas(), or "auto"
        threads     compute threads; 0: one per processor
        context     context limit of its sessions in tokens; 0: the model's, at most 8192
        vocab_only  load only tokenizer and metadata
        cache_type  type of cached keys and values: f16, f32 or q8_0
        progress    called with (phase, done, total) during a long load; Ctrl-C works meanwhile
        decode_threads   compute threads of decode; 0: as `threads`
        prefix_cache_mb  MiB of the cache for prompt prefixes that sessions share; 0: none
        journal     a flyball.Journal that records the events of the model and its sessions
        governor    governor settings of its sessions, by configuration key: {"guard.mode": "on", ...}
        packed_copy  use of packed weights in the cache folder: auto, of those that are there, and makes one of a model
                     that memory cannot hold; on, makes one of any model; off
        packed_copies_gb  GiB that they may have on the disk; the oldest make room
        """
        name = expanded(path, "path of the model")
        try:
            core = _core.ModelCore.load(
                os.fsencode(name),
                isa,
                integer("threads", threads),
                integer("decode_threads", decode_threads),
                integer("prefix_cache_mb", prefix_cache_mb) << 20,
                bool(vocab_only),
                progress,
                journal.core if journal else None,
                _fingerprint_cache(name),
                _packed_folder(name, packed_copy),
                packed_copy,
                integer("packed_copies_gb", packed_copies_gb) << 30,
            )
        except FormatError as error:
            raise error.in_file(name) from None
        if not vocab_only and isa not in ("auto", "", now := str(core.info()["isa"])):
            message = f"isa {isa!r} is now {now!r}; the old name goes with version 0.3"
            warnings.warn(message, FutureWarning, stacklevel=2)
        _core.governor_check(governor_words(governor))
        defaults = Defaults(integer("context", context), cache_type, dict(governor or {}))
        how = {
            "isa": isa,
            "threads": threads,
            "context": context,
            "vocab_only": vocab_only,
            "cache_type": cache_type,
            "decode_threads": decode_threads,
            "prefix_cache_mb": prefix_cache_mb,
            "governor": defaults.governor,
            "packed_copy": packed_copy,
            "packed_copies_gb": packed_copies_gb,
        }
        handle = ModelHandle(core, ModelFile(name, core), Batcher(), journal, defaults, Compiler(core))
        return cls(handle, name, how)

    @cached
    def info(self) -> ModelInfo:
        """Metadata of the file, and how it was loaded."""
        fields = self._core.info() | self._core.startup()
        return ModelInfo(path=self._path, _source=self._handle.file, **fields)

    def fingerprint(self, progress: Progress | None = None, *, anew: bool = False) -> str:
        """SHA-256 in hexadecimal over the SHA-256 of each MiB of the file, as it was when it was loaded.

        Large files take a while: `progress` is called with ("hash", done, total), and Ctrl-C works. Those of 64 MiB and
        more are remembered in the user's cache folder, by device, inode, size and times; `anew`: hash it all the same.
        Raises FileError if the file has changed since it was loaded.
        """
        return self._core.fingerprint(progress, bool(anew))

    def tune(self, objective: str = "latency", cache_file: AnyPath | None = None, refresh: bool = False) -> Tuned:
        """Choose the thread counts of later sessions by short measurements, in less than two seconds.

        objective   latency: one answer; throughput: many at once; quiet: the fewest threads at most 25 % slower
        cache_file  file that caches results by processor and model shape
        refresh     measure even if the file has a result

        The thread count never changes an answer. Call this before sharing the model between threads.
        """
        file = os.fsencode(expanded(cache_file, "cache_file")) if cache_file is not None else b""
        tuned = Tuned(**self._core.tune(objective, file, bool(refresh)))
        self._idle.clear()
        self.__dict__.pop("info", None)  # the cached info has the old thread counts
        return tuned

    def autoselect_isa(self) -> dict[str, float]:
        """Switch to the fastest instruction set on this machine; returns milliseconds per four tokens of each.

        On an emulated processor that is rarely the one with the widest registers. It never changes an answer. Call
        this before sharing the model between threads.
        """
        times = self._core.choose_isa()
        self.__dict__.pop("info", None)  # the cached info has the old instruction set
        return {name: ns / 1e6 for name, ns in times.items()}

    @property
    def governor(self) -> Mapping[str, object]:
        """Governor settings of its sessions, by configuration key; what is not there has its default."""
        return self._handle.defaults.governor

    def govern(self, governor: Mapping[str, object]) -> None:
        """Replace the governor settings of sessions and answers that begin from now on; those that run keep theirs.

        Raises InvalidArgument.
        """
        _core.governor_check(governor_words(governor))
        defaults = self._handle.defaults._replace(governor=dict(governor))
        self._how = {**self._how, "governor": defaults.governor}
        self._handle = replace(self._handle, defaults=defaults)
        self._idle.clear()

    @property
    def prefix_cache_bytes(self) -> int:
        """Bytes that shared prefixes take now."""
        return self._core.prefix_cache_bytes

    @property
    def working_since(self) -> float | None:
        """When the running step of batched answers began, on time.monotonic()'s clock; None: none runs."""
        return self._handle.batcher.working_since

    def metadata(self, limit: int = 8) -> dict[str, object]:
        """The file's metadata. Longer arrays are cut to `limit` elements and a final None."""
        return self._core.metadata(integer("limit", limit))

    def tensors(self) -> list[tuple[str, str, tuple[int, ...], int]]:
        """(name, type, shape with rows first, bytes) of each tensor in the file."""
        return self._core.tensors()

    def keys_not_read(self) -> list[str]:
        """Keys of the file's metadata that nothing has asked for: they change no answer."""
        return self._core.keys_not_read()

    def problem(self) -> str | None:
        """Why the file cannot be run, with the key or tensor; None if it can. For models loaded with `vocab_only`."""
        return self._core.problem()

    def needs(self) -> tuple[int, int] | None:
        """Bytes of memory for the weights, and bytes of them that each token reads; None if the file cannot be run.

        A mixture of experts reads those that it chooses. The cache comes on top: `info.cache_bytes()`.
        """
        return self._core.needs()

    def tokenize(self, text: str, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """Token ids of `text`.

        add_special    begin and end tokens as the vocabulary asks
        parse_special  parse control tokens in the text; False: text never becomes one
        """
        return self._core.tokenize(utf8("text", text), add_special, parse_special)

    def detokenize(self, ids: Iterable[int], special: bool = False) -> str:
        """Text of the ids; invalid UTF-8 becomes U+FFFD. `special`: include control tokens as text."""
        return self._core.detokenize(ids, special).decode("utf-8", "replace")

    def detokenize_bytes(self, ids: Iterable[int], special: bool = False) -> bytes:
        """The exact bytes of the ids."""
        return self._core.detokenize(ids, special)

    def is_end(self, token: int) -> bool:
        """Whether a token ends an answer (end of text, turn or message)."""
        return self._core.is_end_of_generation(token)

    def logits(
        self, ids: Iterable[int], batch: int = 192, *, progress: Progress | None = None
    ) -> npt.NDArray[np.float32]:
        """Logits of every position, teacher forced: float32 of shape (len(ids), n_vocab).

        `batch`: tokens per transformer call; never changes a bit.
        """
        with self._borrowed() as session:
            return session.logits(ids, batch, progress=progress)

    def last_logits(
        self, ids: Iterable[int], batch: int = 192, *, progress: Progress | None = None
    ) -> npt.NDArray[np.float32]:
        """Logits of the last position alone: float32 of shape (n_vocab,), the bits of logits(ids)[-1]."""
        with self._borrowed() as session:
            return session.last_logits(ids, batch, progress=progress)

    def score(
        self, text: Prompt, top_logprobs: int = 0, batch: int = 192, *, progress: Progress | None = None
    ) -> Score:
        """How likely the model finds each token of `text` (text or token ids), teacher forced.

        top_logprobs  also give this many of the likeliest tokens in each place, at most 128

        Natural-log probabilities under the raw logits, of every token but the first. Memory does not grow with the
        text's logits, as it does with logits().
        """
        with self._borrowed() as session:
            return session.score(text, top_logprobs, batch, progress=progress)

    def embed(
        self, text: Prompt | Sequence[Prompt], pooling: str = "auto", normalize: bool = True, batch: int = 192
    ) -> npt.NDArray[np.float32]:
        """Hidden states after the last norm, pooled over positions: float32 of shape (n_embd,).

        `pooling`: mean, last, first, or auto: as the file's pooling_type says, else mean.
        A list of n texts (or of lists of ids) gives shape (n, n_embd), each row with the bits that its text gives
        alone; all are checked before the first is computed.
        """
        with self._borrowed() as session:
            return session.embed(text, pooling, normalize, batch)

    def generate(
        self,
        prompt: Prompt,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        *,
        progress: Progress | None = None,
        **options: Unpack[GenerateKeywords],
    ) -> Result:
        """Answer `prompt` (text or token ids) from an empty cache. Options: see GenerateOptions."""
        with self._borrowed() as session:
            return session.generate(prompt, max_tokens, progress=progress, **options)

    def stream(
        self,
        prompt: Prompt,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        *,
        progress: Progress | None = None,
        **options: Unpack[GenerateKeywords],
    ) -> Stream:
        """As generate(), piece by piece. The prompt is computed before this returns."""
        return self.session().stream(prompt, max_tokens, progress=progress, **options)

    def _request(self, prompt: Prompt, max_tokens: int, options: GenerateKeywords) -> Request:
        """The checked request of an answer in a session of its own."""
        request = Request.of(self._handle, prompt, max_tokens, options)
        session = self._take_session()  # any: all of them are alike
        try:
            session._check(request)
        finally:
            self._keep_session(session)
        return request

    def compile(self, constraint: Constraint) -> None:
        """Compile a constraint ahead of its first answer; takes seconds for a model's first one.

        Raises InvalidArgument or Unsupported for what cannot be guaranteed, with the place.
        """
        self._handle.constraints.compile(constraint)

    def request_key(
        self, prompt: Prompt, max_tokens: int = DEFAULT_MAX_TOKENS, **options: Unpack[GenerateKeywords]
    ) -> str:
        """The `request_key` of the Result that generate() would give, without computing it.

        Two requests have the same key only if they must have the same answer; a model's first key hashes its file.
        Where the governor bounds the answer's settings, the Result's is that of the bounded ones.
        """
        return self._key(Request.of(self._handle, prompt, max_tokens, options))

    def _key(self, request: Request) -> str:
        session = self._take_session()  # any: all of them are alike
        try:
            return session._request_key(request)
        finally:
            self._keep_session(session)

    def _job(self, request: Request, on_piece: Callable[[Piece], None] | None = None) -> Job:
        return Job(_ModelWork(self, request), on_piece)

    def chat(
        self,
        system: str | None = None,
        template: str | None = None,
        session: Session | None = None,
        messages: Iterable[Message | Mapping[str, Any]] = (),
        **variables: Any,
    ) -> Chat:
        """A conversation in the model's own chat template, or in `template` (its text, or its name in the file).

        messages  what was said so far, such as examples: Message or mappings with role and content

        `variables` are passed to the template: `tools`, `enable_thinking`, `reasoning_effort` and what else it reads.
        """
        from .chat import Chat

        return Chat(session or self.session(), self.chat_format(template), system, variables, messages)

    def chat_format(self, template: str | None = None) -> ChatFormat:
        """What makes prompts of messages and messages of answers; `template` as for chat()."""
        from .chat_format import ChatFormat

        return ChatFormat(self.chat_template(template), self._vocabulary)

    @cached
    def _vocabulary(self) -> Vocabulary:
        from ..answers.symbols import Vocabulary

        core = self._core
        controls = {token: text.decode("utf-8", "replace") for token, text in core.control_tokens()}
        ends = frozenset(token for token in controls if core.is_end_of_generation(token))
        return Vocabulary(controls, lambda ids: core.detokenize(ids, False), ends)

    def chat_template(self, source: str | None = None) -> ChatTemplate:
        """The model's own template, one that its file names, or `source`, ready to render messages into token ids.

        The model's own is the one named `tool_use`, if there is one, for prompts with tools.
        """
        if source is None:
            return self._own_template
        return self._make_template(self._named_templates.get(source, source))

    @cached
    def _own_template(self) -> ChatTemplate:
        named = self._named_templates
        source = self.info.chat_template or named.get("default", "")
        if named and not source:
            names = ", ".join(sorted(named))
            raise InvalidArgument("template", f"is not chosen: the model file has {names}; give one by template=")
        return self._make_template(source, named.get("tool_use", ""))

    @cached
    def _named_templates(self) -> dict[str, str]:
        """What the file has under tokenizer.chat_template.NAME."""
        prefix = "tokenizer.chat_template."
        found = {key.removeprefix(prefix): text for key, text in self.metadata(0).items() if key.startswith(prefix)}
        return {name: text for name, text in found.items() if isinstance(text, str)}

    def _make_template(self, source: str, tool_use: str = "") -> ChatTemplate:
        from ..templates.template import ChatTemplate  # imports jinja2

        core = self._core  # not self, which would keep a model that the program has dropped

        def piece(token: int) -> str:
            return core.piece(token, True).decode("utf-8", "replace") if token >= 0 else ""

        def tokenize(text: str, parse_special: bool) -> list[int]:
            return core.tokenize(utf8("messages", text), False, parse_special)

        info = self.info
        control = {text.decode("utf-8", "replace"): token for token, text in core.control_tokens()}
        first = info.bos if info.add_bos else None
        return ChatTemplate(source, tokenize, control, piece(info.bos), piece(info.eos), first, tool_use)

    def session(
        self,
        context: int | None = None,
        cache_type: str | None = None,
        threads: int = 0,
        sequence: int = 0,
        decode_threads: int = 0,
        governor: Mapping[str, object] | None = None,
        adapter: Adapter | None = None,
        adapter_scale: float = 1.0,
    ) -> Session:
        """A new session. `sequence` selects its stream of random numbers: another value draws other tokens.

        governor  settings by configuration key, instead of the model's: {"guard.mode": "on", ...}
        adapter   an Adapter of this model for all answers that choose none of their own
        """
        core = self._handle.new_session(
            context, cache_type, threads, decode_threads, sequence, governor, adapter, adapter_scale
        )
        return Session(self._handle, core, adapter, adapter_scale)

    def load_adapter(self, path: AnyPath) -> Adapter:
        """Load a LoRA adapter (GGUF, as llama.cpp writes them), for sessions and answers of this model.

        Raises FormatError or NonFinite for a file that is damaged, Unsupported for what Flyball cannot apply and
        InvalidArgument for an adapter of another model; warns of one that changes nothing.
        """
        return load_adapter(self._core, path)

    def _new_draft(self, context: int) -> _core.SessionCore:
        """A session for drafting, with room for `context` tokens."""
        return self._handle.new_session(min(context, self.info.context_length))

    def close(self) -> None:
        """Free the memory; existing sessions and running answers keep what they need."""
        self._core.close()
        self._idle.clear()
        self._handle.batcher.hurry()
        self._handle.keep_journal()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Model({self._path!r})"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Callable[..., Model], tuple[type[Model], str, Mapping[str, Any]]]:
        if self._handle.recorder is not None:
            what = "cannot be pickled: it records into a journal, which one process writes; load it where it is used"
            raise InvalidArgument("Model", what)
        return _reload, (type(self), os.path.join(self._folder, self._path), self._how)

    @contextmanager
    def _borrowed(self) -> Iterator[Session]:
        session = self._take_session()
        yield session  # not reused after an error, as its state is then unknown
        self._give_back(session)

    def _take_session(self) -> Session:
        try:
            return self._idle.pop()
        except IndexError:
            return self.session()

    def _give_back(self, session: Session) -> None:
        session.reset()
        self._keep_session(session)

    def _keep_session(self, session: Session) -> None:
        session._forget_draft()
        if not self._core.closed and session._model is self._handle:  # else it has the governor of before
            self._idle.append(session)


class _ModelWork:
    """An answer in a session of its own, from an empty cache."""

    def __init__(self, model: Model, request: Request) -> None:
        self._model = model
        self._request = request
        self._session: Session | None = None

    def begin(self) -> _core.GenerationCore:
        self._session = self._model._take_session()
        return self._session._begin(self._request, compute=False)

    def finish(self, core: _core.GenerationCore) -> Result:
        assert self._session is not None  # begin() has run
        result = self._session._finish(core)
        self._model._give_back(self._session)
        return result

    def leave(self) -> None:
        pass  # a session with an error is not used again
