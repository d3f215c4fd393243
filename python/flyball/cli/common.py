"""Shared by the commands: settings from flags, opening a model with progress, formatting."""

from __future__ import annotations

import argparse
import json
import os
import select
import stat
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, cast

from .. import _core
from ..config.configuration import Setting, resolve
from ..engine.model import Model, demo_model_path
from ..engine.options import GenerateKeywords
from ..engine.results import Result
from ..errors import Error, FileError, FormatError, InvalidArgument, NotFound
from ..files import cache_file, state_folder
from ..paths import AnyPath, expanded
from .streams import write, write_error, write_json
from .terminal import harmless, is_terminal

if TYPE_CHECKING:
    from ..engine.adapter import Adapter
    from ..engine.handle import Recorder
    from ..engine.session import Session
    from ..governor.policy import Policy
    from ..journal.journal import Journal

__all__ = ["write", "write_error", "write_json"]  # for the commands, which use this module's names alone

_GOVERNOR_KEYS = ("autotune.", "guard.", "policy.")
SUCCESS, FAILURE, ERROR = 0, 1, 2
_MAX_TEXT = 64 << 20
_PATIENCE_S = 3
_TERMINAL_LINE = 4095  # bytes of a line that Linux terminals keep; they drop the rest in silence

# flag -> (configuration key, metavar, help)
_FLAGS = {
    "--isa": ("isa", "NAME", "instruction set (default: the best of the processor)"),
    "--threads": ("threads", "N", "compute threads (0: one per processor)"),
    "--decode-threads": ("decode_threads", "N", "compute threads of decode (0: as --threads)"),
    "--ctx": ("context", "N", "context limit in tokens (0: the model's, at most 8192)"),
    "--cache-type": ("cache_type", "TYPE", "type of cached keys and values: f16, f32, q8_0"),
    "--prefix-cache-mb": ("prefix_cache_mb", "N", "MiB of the cache for shared prompt prefixes (0: none)"),
    "--packed-copy": (
        "packed_copy",
        "HOW",
        "packed weights in the cache folder: auto, on, off; never changes a result",
    ),
    "--speculate": (
        "speculate",
        "HOW",
        "draft tokens and verify several at once: auto, off, always; never changes a result",
    ),
    "--draft": (
        "draft",
        "FILE",
        "smaller model with the same vocabulary as draft model (default: prompt lookup)",
    ),
    "--adapter": ("adapter", "FILE[:SCALE]", "LoRA adapter of the model"),
    "--batch": ("batch", "N", "prompt tokens per transformer call; never changes a result"),
    "--temp": ("sampling.temperature", "T", "temperature (0: always the likeliest token)"),
    "--top-k": ("sampling.top_k", "K", "only the K likeliest tokens (0: all)"),
    "--top-p": ("sampling.top_p", "P", "only the likeliest tokens whose probabilities add up to P (1: all)"),
    "--min-p": ("sampling.min_p", "P", "only tokens at least P times as likely as the likeliest (0: all)"),
    "--repeat-penalty": ("sampling.repeat_penalty", "X", "penalty for repeated tokens (1: off)"),
    "--presence-penalty": ("sampling.presence_penalty", "X", "subtracted from logits of tokens in the answer (0: off)"),
    "--frequency-penalty": (
        "sampling.frequency_penalty",
        "X",
        "subtracted from a token's logit for each time that the answer has it (0: off)",
    ),
    "--no-repeat-ngram": ("sampling.no_repeat_ngram", "N", "ban repeated n-grams of N tokens (0: off)"),
    "--seed": ("sampling.seed", "S", "random seed: the same seed draws the same tokens"),
}
MODEL_FLAGS = ("--isa", "--threads", "--decode-threads", "--ctx", "--cache-type", "--prefix-cache-mb")
SAMPLING_FLAGS = tuple(flag for flag in _FLAGS if flag not in MODEL_FLAGS)


def _parent(*names: str, **how: Any) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(*names, **how)
    return parser


# Parent parsers with the arguments that several commands share.
MODEL = _parent("model", nargs="?", metavar="MODEL", help="GGUF file (default: the bundled demonstration model)")
MODEL_FLAG = _parent("--model", metavar="FILE", help="GGUF file (default: the bundled demonstration model)")
TEMPLATE_VARIABLES = _parent(
    "--template-var", action="append", default=[], metavar="NAME=JSON",
    help="a variable of the chat template, such as enable_thinking=false; may be repeated",
)  # fmt: skip


def add_adapter_flag(parser: argparse.ArgumentParser) -> None:
    """The flag of commands that compute answers again; adapter_finder() reads it."""
    what = "adapter that an answer was made with; may be repeated (default: from this user's folder of adapters)"
    parser.add_argument("--adapter", action="append", default=[], metavar="FILE", help=what)


def adapter_finder(given: Sequence[str]) -> Callable[[str], AnyPath | None]:
    """Gives the file of a digest: one of those that were given, or of this user's."""
    from ..engine.adapter import describe_adapter
    from ..learn.folders import file_of

    known = {found.fingerprint: path for path in given if (found := describe_adapter(path)) is not None}
    return lambda digest: known.get(digest) or file_of(digest)


ADAPTERS = argparse.ArgumentParser(add_help=False)
add_adapter_flag(ADAPTERS)
JSON = _parent("--json", action="store_true", help="print JSON instead of text")


def add_flags(parser: argparse.ArgumentParser, flags: Iterable[str]) -> None:
    """Flags that set configuration keys; --config names the file."""
    for flag in flags:
        key, metavar, text = _FLAGS[flag]
        parser.add_argument(flag, dest=key, metavar=metavar, help=text)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="set any configuration key; may be repeated"
    )
    parser.add_argument(
        "--config", metavar="FILE", help="configuration file (default: flyball.toml here or in ~/.config/flyball)"
    )


def add_journal_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of commands that write a journal; open_journal() reads them."""
    parser.add_argument("--journal", metavar="FILE", help="append all events to a journal; flyball journal reads it")
    parser.add_argument(
        "--journal-content",
        action="store_true",
        help="also record prompt and answer, so that flyball replay can repeat them",
    )


@contextmanager
def open_journal(args: argparse.Namespace, settings: Mapping[str, Setting]) -> Iterator[Journal | None]:
    """The journal that the flags ask for, or None. No answer fails for its journal: what is not recorded is told."""
    path = args.journal or settings["journal"].value
    if not path:
        yield None
        return
    from ..journal.journal import Journal, Unwritable

    try:
        journal = Journal(
            path,
            settings["journal_max_kb"].value << 10,
            settings["journal_files"].value,
            log=settings["log"].value or None,
            content=args.journal_content,
        )
    except Unwritable as error:
        say_error(f"warning: {error}; nothing is recorded")
        yield None
        return
    if journal.recovered:
        say_error(f"{path}: truncated an incomplete last line of {journal.recovered} bytes")
    try:
        yield journal
    finally:
        try:
            journal.close()
        except FileError as error:
            n = journal.waiting
            say_error(f"warning: {error}" + (f"; {n} events are not recorded" if n else ""))


def read_settings(args: argparse.Namespace, model: str = "") -> dict[str, Setting]:
    """The settings for this command; `model`: of one of the models that the configuration names."""
    given = vars(args)
    keys = {key for key, _, _ in _FLAGS.values()} | {"model", "max_tokens"} | {key for key in given if "." in key}
    words = {key: given[key] for key in sorted(keys) if given.get(key) is not None}
    for assignment in args.set:
        key, equals, word = assignment.partition("=")
        if not equals:
            raise InvalidArgument("--set", f"is {assignment!r}, must be KEY=VALUE; flyball config lists the keys")
        words[key.strip()] = word.strip()
    return resolve(args.config, words, model=model)


def template_variables(args: argparse.Namespace) -> dict[str, Any]:
    """The variables that the flags give to the chat template."""
    return {name: value for each in args.template_var for name, value in template_variable(each).items()}


def read_tools(name: str) -> list[Any]:
    """The tools of a JSON file."""
    try:
        tools = json.loads(read_text(name))
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(name, f"is not JSON: {error}") from None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise InvalidArgument(name, "must be a JSON list of tools")
    return tools


def template_variable(assignment: str) -> dict[str, Any]:
    """One variable from NAME=JSON."""
    name, _, word = (part.strip() for part in argument_text(assignment).partition("="))
    try:
        value = json.loads(word)
    except (ValueError, RecursionError):
        raise InvalidArgument(
            f"template variable {name!r}", f"is {word!r}, must be JSON: true, false, a number, text in double quotes"
        ) from None
    if not name.isidentifier():
        raise InvalidArgument("template variable", f"has the name {name!r}; give NAME=JSON")
    return {name: value}


def generate_keywords(settings: Mapping[str, Setting], progress: Progress | None = None) -> GenerateKeywords:
    """Keyword arguments of generate() from the settings; opens the draft model if one is set."""
    draft = settings["draft"].value
    return {
        "temperature": settings["sampling.temperature"].value,
        "top_k": settings["sampling.top_k"].value,
        "top_p": settings["sampling.top_p"].value,
        "min_p": settings["sampling.min_p"].value,
        "repeat_penalty": settings["sampling.repeat_penalty"].value,
        "repeat_window": settings["sampling.repeat_window"].value,
        "presence_penalty": settings["sampling.presence_penalty"].value,
        "frequency_penalty": settings["sampling.frequency_penalty"].value,
        "no_repeat_ngram": settings["sampling.no_repeat_ngram"].value,
        "seed": settings["sampling.seed"].value,
        "batch": settings["batch"].value,
        "speculate": settings["speculate"].value,
        "draft": _open(draft, settings, progress) if draft else None,
    }


class Progress:
    """A progress line on standard error; none if that is not a terminal."""

    def __init__(self) -> None:
        self._watched = sys.stderr is not None and sys.stderr.isatty()
        self._start = time.monotonic()
        self._shown = False

    def __call__(self, phase: str, done: int, total: int) -> None:
        """Show `phase` once it has lasted half a second."""
        if not self._watched or not total:
            return
        if done >= total:
            self.clear()
        elif time.monotonic() - self._start > 0.5:
            bar = "#" * (30 * done // total)
            write_error(f"\r{phase:8} [{bar:30}] {100 * done // total:3} %")
            self._shown = True

    def clear(self) -> None:
        """Erase the line."""
        if self._shown:
            write_error("\r" + " " * 50 + "\r")
            self._shown = False
        self._start = time.monotonic()


def open_model(
    settings: Mapping[str, Setting], progress: Progress | None = None, journal: Recorder | None = None
) -> Model:
    """Open the model of the settings (default: the bundled one); tune its threads if the settings leave them open."""
    model = _open(settings["model"].value or demo_model_path(), settings, progress, journal)
    if model.info.no_packed_copy:
        say_error(f"warning: no packed copy was made: {model.info.no_packed_copy}")
    how = settings["tune"].value
    if how != "off" and not settings["threads"].value and not settings["decode_threads"].value:
        model.tune(settings["objective"].value, cache_file("tuned.txt"), refresh=how == "refresh")
    return model


def _open(
    path: str | Path, settings: Mapping[str, Setting], progress: Progress | None, journal: Recorder | None = None
) -> Model:
    return Model.load(
        path,
        isa=settings["isa"].value,
        threads=settings["threads"].value,
        context=settings["context"].value,
        cache_type=settings["cache_type"].value,
        progress=progress,
        decode_threads=settings["decode_threads"].value,
        prefix_cache_mb=settings["prefix_cache_mb"].value,
        packed_copy=settings["packed_copy"].value,
        packed_copies_gb=settings["packed_copies_gb"].value,
        journal=journal,
        governor={key: setting.value for key, setting in settings.items() if key.startswith(_GOVERNOR_KEYS)},
    )


def open_policy(model: Model, settings: Mapping[str, Setting], max_tokens: int) -> Policy | None:
    """The policy that the settings ask for, or None."""
    if settings["policy.consult"].value == "off" and settings["policy.auto_apply"].value == "off":
        return None
    from ..governor.policy import Policy

    return Policy(
        model,
        settings["policy_file"].value or None,
        {key: setting.value for key, setting in settings.items() if key.startswith(_GOVERNOR_KEYS)},
        context=settings["context"].value,
        cache_type=settings["cache_type"].value,
        max_tokens=max_tokens,
    )


def end_policy(policy: Policy | None, session: Session) -> None:
    """Report the end of the session to the policy; if it cannot ask the model, that is only a message."""
    if policy is not None:
        try:
            policy.session_ended(session)
        except Error as error:
            say_error(f"the policy could not ask the model: {error}")


def open_adapter(model: Model, settings: Mapping[str, Setting]) -> tuple[Adapter | None, float]:
    """The adapter of the settings with its scale; says so if it changes nothing."""
    return load_adapter(model, settings["adapter"].value) if settings["adapter"].value else (None, 1.0)


def load_adapter(model: Model, argument: str) -> tuple[Adapter, float]:
    """From FILE or FILE:SCALE."""
    path, scale = _core.adapter_argument(os.fsencode(argument))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", RuntimeWarning)
        adapter = model.load_adapter(path)
    for warning in told:
        say_error(f"warning: {warning.message}")
    return adapter, scale


def is_demo(settings: Mapping[str, Setting]) -> bool:
    """Whether the settings name no model."""
    return not settings["model"].value


DEMO_NOTE = "This is the bundled demonstration model: tiny, trained to show Flyball, not to know facts."


def read_text(name: str) -> str:
    """The text of a file, or of standard input for '-'."""
    try:
        if name == "-":
            raw = sys.stdin.buffer.read(_MAX_TEXT + 1)
        else:
            with Path(expanded(name)).open("rb") as file:
                raw = file.read(_MAX_TEXT + 1)
    except FileNotFoundError:
        raise NotFound(name, "does not exist") from None
    except OSError as error:
        raise FileError(name, f"cannot be read: {error.strerror or error}") from None
    if len(raw) > _MAX_TEXT:
        raise InvalidArgument(name, f"is longer than {_MAX_TEXT >> 20} MiB, too long for a prompt")
    if name == "-":
        check_uncut(raw)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise FormatError(name, "is not UTF-8", error.start) from None


def check_uncut(typed: bytes) -> None:
    """Refuse input with a line that the terminal has cut."""
    if is_terminal(sys.stdin) and any(len(line) == _TERMINAL_LINE for line in typed.split(b"\n")):
        raise InvalidArgument(
            "standard input", f"has a line that the terminal cut at {_TERMINAL_LINE} bytes; use a file or a pipe"
        )


def is_piped(file: IO[str] | None) -> bool:
    """Whether a file, pipe or socket was given as standard input: not a terminal, not a device, not nothing."""
    try:
        kind = os.fstat(file.fileno()).st_mode if file is not None else 0
    except (OSError, ValueError):  # closed, or replaced by what is no file
        return False
    return any(test(kind) for test in (stat.S_ISREG, stat.S_ISFIFO, stat.S_ISSOCK))


def piped_text() -> str | None:
    """The text piped into standard input; None if there is none. Says so when it has to wait."""
    if not is_piped(sys.stdin):
        return None
    if not select.select([sys.stdin], [], [], _PATIENCE_S)[0]:
        say_error("waiting for standard input, which is a part of the prompt; </dev/null gives none")
    return read_text("-") or None


def argument_text(text: str) -> str:
    """Text from the command line, whose bytes are UTF-8 whatever the locale; Python passes on others as surrogates."""
    with suppress(UnicodeEncodeError):
        text.encode()
        return text
    try:
        return os.fsencode(text).decode()
    except UnicodeError as error:
        raise InvalidArgument("command line", f"is not UTF-8: {error}") from None


def sentences(result: Result) -> list[str]:
    """The decisions made during an answer, as sentences."""
    if not result.decisions:
        return []
    from ..journal import explain  # importing it takes longer than a short answer

    return list(map(explain.sentence_of, result.decisions))


def write_table(rows: Sequence[Sequence[object]], right: Iterable[int] = ()) -> None:
    """Rows in columns, each cell printable; columns in `right` are numbers."""
    texts = [[printable(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        cells = [
            cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        write("  ".join(cells).rstrip() + "\n")


def key_of(variable: str | None) -> str:
    """The API key that an environment variable has; "" if no variable is named."""
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise InvalidArgument("--key-env", f"names {variable!r}, which is not set to a key in the environment")
    return key


def say_error(error: object) -> None:
    """One line on standard error, without control characters."""
    write_error(f"flyball: {harmless(' '.join(str(error).split()))}\n")


def printable(text: str) -> str:
    """Untrusted text on one line, without terminal control characters."""
    return "".join(c if c.isprintable() else " " for c in text)


def size(n_bytes: int) -> str:
    """Bytes with a binary unit."""
    value = float(n_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def count(n: int) -> str:
    """A number of parameters with a decimal unit."""
    for factor, unit in ((10**9, " B"), (10**6, " M"), (10**3, " k")):
        if n >= factor:
            return f"{n / factor:.2f}{unit}"
    return str(n)


def rate(value: float | None, decimals: int = 0) -> str:
    """A rate, or "-" for None."""
    return "-" if value is None else f"{value:,.{decimals}f}"


class Kept(NamedTuple):
    """What became of an answer's digest and receipt; the answer is delivered whatever `why` there is none."""

    digest: str | None
    path: Path | None
    why: str = ""
    code: int = SUCCESS


NOT_WANTED = "--no-receipt"


def keep_receipt(result: Result, model: Model, file: str | None, progress: Progress, wanted: bool = True) -> Kept:
    """Write the receipt, if `wanted`, to `file` or to the user's state folder, which need not be writable."""
    try:
        model.fingerprint(progress)  # may take its time
        digest = result.digest
    except Error as error:  # the model's file has changed
        return Kept(None, None, str(error), ERROR)
    except KeyboardInterrupt:
        progress.clear()
        return Kept(None, None, "stopped while the model file was hashed", ERROR)
    if not wanted:
        return Kept(digest, None, NOT_WANTED)
    folder = state_folder()
    if not file and folder is None:
        return Kept(digest, None, "there is no home folder to keep it in; --receipt FILE names a file")
    try:
        return Kept(digest, result.receipt.save(file or cast(Path, folder) / "receipts" / f"{digest[:16]}.json"))
    except FileError as error:
        return Kept(digest, None, str(error), ERROR if file else SUCCESS)


def answer_as_dict(result: Result, kept: Kept) -> dict[str, object]:
    """A Result for JSON."""
    return {
        "text": result.text,
        "tokens": list(result.tokens),
        "logprobs": list(result.logprobs),
        "stop_reason": result.stop_reason,
        "digest": kept.digest,
        "receipt": None if kept.path is None else str(kept.path),
        "metrics": result.metrics.as_dict(),
    }
