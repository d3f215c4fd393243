"""Compiled constraints: the masks of llguidance for one vocabulary.

llguidance raises nothing. After an error its mask allows the tokens that end an answer, as if it were complete, so
every call is followed by a look at the error.
"""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import Error, InternalError, InvalidArgument, Unsupported
from . import library, schema
from .constraint import Constraint, Thoughts
from .vocabulary import Core, Tokens

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_BETWEEN = r"/[ \t\r\n]{1,8}/"  # after thoughts; part of what a receipt's constraint means
_KEPT = 32  # compiled constraints
_MOST_TRIES = 200  # of finding the part of a schema that is at fault
_ONE_OF = "oneOf is not supported where more than one of its schemas may hold; use anyOf"
_TEMPERATURE = re.compile(r"\[[^\]\n]*\btemperature\s*=")


class Matcher(Protocol):
    """The part of llguidance.LLMatcher that is used."""

    def consume_token(self, sampled_token: int) -> bool: ...

    def unsafe_compute_mask_ptr(self, trg_pointer: int, trg_byte_size: int) -> None: ...

    def is_error(self) -> bool: ...

    def get_error(self) -> str: ...


class Masks:
    """The masks of one answer, one place after the other, in `mask`: bit i % 32 of word i / 32 for token i."""

    def __init__(self, matcher: Matcher, n_tokens: int) -> None:
        import numpy as np

        self.mask: npt.NDArray[np.uint32] = np.zeros((n_tokens + 31) // 32, np.uint32)
        self._matcher = matcher

    def advance(self, token: int | None) -> None:
        """Take the token that was chosen (None before the first), and compute the mask after it."""
        try:
            if token is None or self._matcher.consume_token(token):
                self._matcher.unsafe_compute_mask_ptr(self.mask.ctypes.data, self.mask.nbytes)
            elif not self._matcher.is_error():
                raise InternalError("constraint", f"does not take token {token}, which its mask allowed")
            if not self._matcher.is_error():
                return
            why = self._matcher.get_error()
        except (KeyboardInterrupt, SystemExit, Error):
            raise
        except BaseException as error:  # of Rust, which is no Exception
            why = f"{type(error).__name__}: {error}"
        raise Unsupported("constraint", f"cannot be applied any further: {_line(why)}")


class Compiled:
    """A constraint for one vocabulary; from many threads, start() begins the masks of an answer."""

    def __init__(self, constraint: Constraint, copy: Callable[[], Matcher], n_tokens: int) -> None:
        self.kind, self.library, self.text = constraint.kind, constraint.library, constraint.text
        self._copy = copy
        self._n_tokens = n_tokens
        self._lock = threading.Lock()

    def start(self) -> Masks:
        """The masks of an answer, before its first token."""
        with self._lock:
            return Masks(self._copy(), self._n_tokens)


class Compiler:
    """Compiles constraints for one vocabulary, and keeps the latest."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._lock = threading.Lock()  # of what is kept
        self._compiling = threading.Lock()
        self._kept: OrderedDict[Constraint, Compiled] = OrderedDict()
        self._tokens: Tokens | None = None
        self._tokenizer: Any = None

    def compile(self, constraint: Constraint) -> Compiled:
        """Raises InvalidArgument or Unsupported for what cannot be guaranteed, and for a library that is not here."""
        library.check(constraint.library)
        if (found := self._find(constraint)) is not None:
            return found
        with self._compiling:
            if (found := self._find(constraint)) is not None:
                return found
            if self._tokenizer is None:  # seconds, for a large vocabulary
                self._tokens = Tokens(self._core)
                self._tokenizer = self._tokens.tokenizer()
            made = self._compile(constraint)
            with self._lock:
                self._kept[constraint] = made
                if len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
        return made

    def _find(self, constraint: Constraint) -> Compiled | None:
        with self._lock:
            if constraint in self._kept:
                self._kept.move_to_end(constraint)
            return self._kept.get(constraint)

    def _compile(self, constraint: Constraint) -> Compiled:
        assert self._tokens is not None  # compile() made them
        n_tokens = len(self._tokens.tokens)
        thoughts, text = constraint.parts()
        body = _body(constraint.kind, text)
        grammars = [{"name": "body"} | body]
        if thoughts is not None:
            grammars.insert(0, {"name": "answer", "lark_grammar": _around(thoughts, self._tokens)})
        matcher, why = self._matcher(grammars)
        if why:
            raise self._refusal(constraint.kind, body, why)
        try:
            Masks(matcher.deep_copy(), n_tokens).advance(None)  # some limits show with the first mask
        except Unsupported as error:
            raise Unsupported(constraint.kind, error.what) from None
        return Compiled(constraint, matcher.deep_copy, n_tokens)

    def _matcher(self, grammars: list[dict[str, Any]]) -> tuple[Any, str]:
        """A matcher, and what is wrong with the grammar: empty if nothing is."""
        llguidance = library.load()
        limits = llguidance.LLParserLimits(verbose_errors=False)  # true would quote the schema
        text = json.dumps({"grammars": grammars}, ensure_ascii=False)
        matcher = llguidance.LLMatcher(self._tokenizer, text, limits=limits, log_level=0)
        warnings = matcher.get_grammar_warnings()
        why = matcher.get_error() if matcher.is_error() else "; ".join(warnings)
        return matcher, _ONE_OF if why.startswith("oneOf constraints") else why.partition(" while processing ")[0]

    def _refusal(self, kind: str, body: dict[str, Any], why: str) -> Error:
        path = self._blame(body["json_schema"], why) + ": " if "json_schema" in body else ""
        words = why.lower()
        unsupported = any(
            word in words for word in ("not supported", "unimplemented", "unknown format", "only supported")
        )
        return (Unsupported if unsupported else InvalidArgument)(kind, path + _line(why))

    def _blame(self, whole: dict[str, Any], why: str) -> str:
        """The path of the innermost schema that is refused for the same reason."""
        root = {key: whole[key] for key in ("$defs", "definitions", "$schema", "x-guidance") if key in whole}
        path, part, tries = "$", whole, 0
        going = True
        while going:
            going = False
            for place, inner in schema.inside(part, path):
                tries += 1
                if tries > _MOST_TRIES or not isinstance(inner, dict):
                    continue
                if self._matcher([{"name": "body", "json_schema": root | inner}])[1] == why:
                    path, part, going = place, inner, True
                    break
        return path


def _body(kind: str, text: str) -> dict[str, Any]:
    """A grammar of llguidance from the text of a kind."""
    if kind in ("json_schema", "json_object"):
        wanted = {"type": "object"} if kind == "json_object" else schema.parse(text)
        schema.check(wanted)
        return {"json_schema": wanted | {"x-guidance": schema.WRITTEN}}
    if kind == "gbnf":
        return {"lark_grammar": _from_gbnf(text)}
    if kind == "lark":
        if _TEMPERATURE.search(text):
            raise Unsupported("lark", "has temperature=, which is an option of the answer")
        return {"lark_grammar": text}
    llguidance = library.load()
    if kind == "regex":
        made: dict[str, Any] = json.loads(llguidance.LLMatcher.grammar_from_regex(text))["grammars"][0]
        return {"lark_grammar": made["lark_grammar"]}
    return {"lark_grammar": "start: " + " | ".join(map(_quoted, _choices(text)))}


def _choices(text: str) -> list[str]:
    try:
        texts = json.loads(text)
    except (ValueError, RecursionError):
        texts = None
    if not isinstance(texts, list) or not texts or not all(isinstance(each, str) for each in texts):
        raise InvalidArgument("choice", "is no JSON list of texts")
    return texts


def _from_gbnf(text: str) -> str:
    from llguidance.gbnf_to_lark import gbnf_to_lark

    try:
        return str(gbnf_to_lark(text))
    except RecursionError:
        raise InvalidArgument("gbnf", "is nested too deeply") from None
    except Exception as error:
        raise InvalidArgument("gbnf", _line(str(error))) from None


def _around(thoughts: Thoughts, tokens: Tokens) -> str:
    """A grammar of thoughts, and then the body."""
    first, *rest = tokens.elements(thoughts.close)
    if isinstance(first, str):  # spelled: the thoughts go up to its first occurrence
        inner, rule = "thoughts", f"thoughts[suffix={_quoted(first)}]: /(.|\\n)*/"
    else:
        inner, rule = f"THOUGHTS? {_sequence([first])}", "THOUGHTS: /(.|\\n)+/"
    inner = f"{inner} {_sequence(rest)} BETWEEN?"
    if not thoughts.opened:
        inner = f"({_sequence(tokens.elements(thoughts.open))} {inner})?"
    return f"start: {inner} @body\n{rule}\nBETWEEN: {_BETWEEN}\n"


def _sequence(elements: list[int | str]) -> str:
    return " ".join(_quoted(each) if isinstance(each, str) else f"<[{each}]>" for each in elements)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _line(text: str) -> str:
    return " ".join(text.split())[:500]
