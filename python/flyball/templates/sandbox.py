"""Jinja in a sandbox with bounds: a hostile template cannot reach Python, loop forever or exhaust memory.

What a template may use is what transformers offers it, with the same results, and two things more that templates in the
wild expect: `from_json`, and changes to lists and mappings that the template itself has made.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, cast

from jinja2 import TemplateError as JinjaError
from jinja2 import nodes, pass_context
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEnvironment
from jinja2.visitor import NodeTransformer
from markupsafe import Markup

from ..errors import InvalidArgument, TemplateError
from . import filters
from .budget import ELEMENT, Budget, size_of
from .formatting import format_text, percent
from .growth import FILTERS, METHODS, REFUSED
from .traced import Traced, concat, from_template, traced

MAX_SOURCE = 256 * 1024

_FILTERS: dict[str, Callable[..., Any]] = {
    "format": filters.format_text,
    "from_json": filters.from_json,
    "indent": filters.indent,
    "join": filters.join,
    "replace": filters.replace,
    "safe": filters.safe,
    "sum": filters.sum_items,
    "title": filters.title,
    "tojson": filters.to_json,
}


_OWN, _TURNS, _CONCAT = _HIDDEN = (" own", " turns", " concat")  # filters whose names no template can write


class _Refused(Exception):
    """raise_exception() in a template: it rejects the messages."""


class ReadOnlyList(list[Any]):
    """A list of the caller's: a template may not change it."""


class ReadOnlyDict(dict[str, Any]):
    """A mapping of the caller's: a template may not change it."""


class _Generation(Extension):
    """`{% generation %}` marks the answer for training; rendering only needs its body."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Callable[[], str]) -> str:
        return caller()


class _Instrument(NodeTransformer):
    """Puts filters around what Jinja compiles without a hook: the template's own text, loops and `~`."""

    def visit_Const(self, node: nodes.Const) -> nodes.Expr:
        return _filter(node, _OWN) if isinstance(node.value, str) else node

    def visit_TemplateData(self, node: nodes.TemplateData) -> nodes.Expr:
        return _filter(nodes.Const(node.data, lineno=node.lineno), _OWN)

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = _filter(cast(nodes.Expr, node.iter), _TURNS)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filter(nodes.List(node.nodes, lineno=node.lineno), _CONCAT)


def _filter(node: nodes.Expr, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "*", "**", "%"})
    concat = staticmethod(concat)  # what macros and blocks join their output with

    def __init__(self) -> None:
        @pass_context  # so that no constant is written to text at compile time, when there is no budget
        def finalize(_: Context, value: Any) -> str:
            return filters.text_of(self.budget, value)

        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,  # the optimizer would compute constants before a budget exists
            finalize=finalize,
            extensions=["jinja2.ext.loopcontrols", _Generation],
        )
        self._local = threading.local()
        self.filters = {name: self._counted(name, function) for name, function in self.filters.items()}
        self.filters |= {name: self._with_budget(function) for name, function in _FILTERS.items()}
        self.filters |= {_OWN: from_template, _TURNS: self._turns, _CONCAT: self._concat}
        del self.globals["lipsum"]
        self.globals |= {"raise_exception": _raise_exception, "strftime_now": self._strftime_now, "range": self._range}

    @property
    def budget(self) -> Budget:
        budget = getattr(self._local, "budget", None)
        if not isinstance(budget, Budget):
            raise TemplateError("template", "is used outside a rendering")
        return budget

    @budget.setter
    def budget(self, budget: Budget | None) -> None:
        self._local.budget = budget

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        _Instrument().visit(tree)
        return tree

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self._text_method(obj, attribute) or super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        return self._text_method(obj, argument) or super().getitem(obj, argument)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if type(obj) in (list, dict):  # made by the template; the caller's are of other types
            return SandboxedEnvironment.is_safe_attribute(self, obj, attr, value)
        return super().is_safe_attribute(obj, attr, value)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.budget.step()
        owner = getattr(obj, "__self__", None)
        changed = owner if isinstance(owner, (list, dict)) else []
        before = len(changed)
        result = super().call(context, obj, *args, **kwargs)
        self.budget.make(ELEMENT * (len(changed) - before))
        self.budget.keep(result)
        return result

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        self.budget.step()
        if operator == "+":
            self.budget.make(size_of(left) + size_of(right))
        elif operator == "%" and isinstance(left, str):
            return percent(self.budget, left, right)
        elif operator == "%" and isinstance(left, bytes):
            raise TemplateError("template", "formats bytes, which templates may not")
        elif operator == "*":
            _check_product(left, right)
            if isinstance(left, int) != isinstance(right, int):
                count, sized = (left, right) if isinstance(left, int) else (right, left)
                self.budget.make(int(count) * size_of(sized))
        elif operator == "**":
            _check_power(left, right)
        return super().call_binop(context, operator, left, right)

    def call_filter(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """What `map` and its like call, by a name that may be any text."""
        if name in _HIDDEN:
            raise TemplateError("template", f"has no filter {name!r}")
        return super().call_filter(name, *args, **kwargs)

    def _text_method(self, obj: Any, name: object) -> Callable[..., Any] | None:
        """A method of a text, if it may make much longer texts, or a text whose origin must be found."""
        if not isinstance(name, str):
            return None
        if isinstance(obj, (int, bytes)) and name in REFUSED:
            raise TemplateError("template", f"uses {name}() of a number or of bytes, which templates may not")
        if not isinstance(obj, str) or name not in METHODS:
            return None
        if isinstance(obj, Markup) and name in ("format", "format_map"):
            raise TemplateError("template", f"uses {name}() of an escaped text, which templates may not")
        return functools.partial(self._call_text_method, obj, str(name))

    def _call_text_method(self, text: str, name: str, /, *args: Any, **kwargs: Any) -> Any:
        if name == "join" and args:
            args = (list(self.budget.turns(args[0])), *args[1:])
        self.budget.make(METHODS[name](text, *args, **kwargs))
        if name == "format":
            return format_text(self, self.budget, text, args, kwargs)
        if name == "format_map":
            return format_text(self, self.budget, text, (), args[0])
        if type(text) is str and name in ("join", "replace"):
            text = traced(text)  # the arguments may be the template's
        return getattr(text, name)(*args, **kwargs)

    def _counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        growth = FILTERS.get(name)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            self.budget.step()
            if growth:
                self.budget.make(growth(self.budget, *args, **kwargs))
            result = function(*args, **kwargs)
            if isinstance(result, Iterator):
                return self.budget.turns(result)
            self.budget.keep(result)
            return result

        return call

    def _with_budget(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.budget.step()
            result = function(self.budget, self, *args, **kwargs)
            self.budget.keep(result)
            return result

        return call

    def _turns(self, items: Any) -> Iterator[Any]:
        return self.budget.turns(items)

    def _concat(self, parts: list[Any]) -> str:
        texts = [filters.text_of(self.budget, part) for part in parts]
        self.budget.make(sum(map(len, texts)))
        return concat(texts)

    def _strftime_now(self, form: str) -> str:
        now: datetime | None = self._local.now
        return (now or datetime.now()).strftime(str(form)[:100])

    def _range(self, *args: int) -> range:
        result = range(*args)
        self.budget.make(len(result))
        return result


def _check_product(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > 1024:
        raise TemplateError("template", "multiplies numbers of more than 1024 bits")


def _check_power(left: Any, right: Any) -> None:
    if not (isinstance(right, (int, float)) and abs(right) <= 64 and abs(left) < 2**64):
        raise TemplateError("template", "raises to a power above 64")


def _raise_exception(message: str) -> None:
    raise _Refused(message)


def _time(now: object) -> datetime | None:
    if now is None:
        return None
    try:
        return datetime.fromisoformat(str(now)[:40])
    except ValueError:
        raise InvalidArgument("strftime_now", f"is {now!r}, must be a time such as 2026-11-29T18:30:00") from None


_environment = _Environment()


class Sandbox:
    """A compiled template. Its failures raise TemplateError."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._template = _environment.from_string(source)

    @classmethod
    def compile(cls, source: str) -> Sandbox:
        """Parse and compile; raises TemplateError with the line of an error."""
        if len(source) > MAX_SOURCE:
            raise TemplateError("template", f"has {len(source)} characters, at most {MAX_SOURCE}")
        try:
            return cls(source)
        except JinjaError as error:
            line = getattr(error, "lineno", None)
            raise TemplateError("template", f"{error.message}" + (f" (line {line})" if line else "")) from None
        except (RecursionError, MemoryError, SyntaxError, ValueError) as error:
            raise TemplateError("template", f"cannot be compiled: {type(error).__name__}") from None

    def render(self, names: Mapping[str, Any], now: object = None) -> Traced:
        """Render with these variables. `now`: the time for strftime_now in ISO 8601, instead of the present one. Raises
        InvalidArgument with the template's message if it rejects the input."""
        _environment.budget = budget = Budget()
        _environment._local.now = _time(now)
        try:
            parts = []
            for part in self._template.generate(names):
                budget.make(len(part))
                parts.append(part)
            return concat(parts)
        except TemplateError:
            raise
        except _Refused as refusal:
            raise InvalidArgument("messages", f"are rejected by the model's template: {refusal}") from None
        except JinjaError as error:
            raise TemplateError("template", str(error.message)) from None
        except Exception as error:  # a hostile expression can raise anything
            raise TemplateError("template", f"failed: {type(error).__name__}: {error}") from None
        finally:
            _environment._local.budget = None


__all__ = ["MAX_SOURCE", "ReadOnlyDict", "ReadOnlyList", "Sandbox"]
