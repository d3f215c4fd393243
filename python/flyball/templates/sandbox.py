"""Jinja in a sandbox with bounds: a hostile template cannot reach Python, loop forever or exhaust memory."""

from __future__ import annotations

import functools
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from jinja2 import TemplateError as JinjaError
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from ..errors import InvalidArgument, TemplateError

MAX_SOURCE = 256 * 1024
MAX_STEPS = 500_000  # loop iterations and calls of one rendering
MAX_CHARACTERS = 64 << 20  # created by all operations of one rendering together
MAX_SECONDS = 5.0

# fmt: off
_FILTERS = (
    "abs", "batch", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float",
    "indent", "int", "items", "join", "last", "length", "list", "lower", "map", "max", "min", "reject",
    "rejectattr", "replace", "reverse", "round", "safe", "select", "selectattr", "slice", "sort", "string",
    "sum", "title", "trim", "unique", "upper",
)
# fmt: on
_GROWING_METHODS = {"center", "expandtabs", "format", "format_map", "ljust", "rjust", "translate", "zfill"}
_WIDE_FORMAT = re.compile(r"%[^%a-zA-Z]*(\d{4}|\*)")


class Budget:
    """The remaining budget of one rendering."""

    def __init__(self) -> None:
        self.steps = MAX_STEPS
        self.characters = MAX_CHARACTERS
        self.deadline = time.monotonic() + MAX_SECONDS

    def step(self) -> None:
        """Count one loop iteration or call."""
        self.steps -= 1
        if self.steps < 0 or (self.steps % 256 == 0 and time.monotonic() > self.deadline):
            raise TemplateError("template", f"takes more than {MAX_STEPS} steps or {MAX_SECONDS:g} seconds")

    def make(self, size: int) -> None:
        """Count `size` created characters or elements."""
        self.characters -= size
        if self.characters < 0:
            raise TemplateError("template", f"makes more than {MAX_CHARACTERS} characters")


class _Refused(Exception):
    """raise_exception() in a template: it rejects the messages."""


class _Generation(Extension):
    """`{% generation %}` marks the answer for training; rendering only needs its body."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Bounded(NodeTransformer):
    """Wraps loops and `~` in counting filters, as Jinja compiles both to code without a hook."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = nodes.Filter(node.iter, "__turns", [], [], None, None, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return nodes.Filter(nodes.List(node.nodes), "__concat", [], [], None, None, lineno=node.lineno)


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=False,
            optimized=False,  # the optimizer would compute constants before a budget exists
            extensions=["jinja2.ext.loopcontrols", _Generation],
        )
        self._local = threading.local()
        self.filters = {name: self._counted(self.filters[name]) for name in _FILTERS}
        self.filters |= {"tojson": self._counted(_to_json), "__turns": self._turns, "__concat": self._concat}
        self.filters["join"] = self._counted(self._join)
        self.filters["replace"] = self._counted(self._replace)
        self.filters["indent"] = self._counted(self._indent(self.filters["indent"]))
        del self.globals["lipsum"]
        self.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now, "range": self._range}

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
        _Bounded().visit(tree)
        return tree

    def getattr(self, obj: Any, attribute: str) -> Any:
        _check_attribute(obj, attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        _check_attribute(obj, argument)
        return super().getitem(obj, argument)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.budget.step()
        owner = getattr(obj, "__self__", None)
        if isinstance(owner, str):
            if obj.__name__ == "replace" and len(args) >= 2:
                return self._replace(owner, *args)
            if obj.__name__ == "join" and args:
                return self._join(args[0], owner)
        result = super().call(context, obj, *args, **kwargs)
        if isinstance(result, (str, list, tuple)):
            self.budget.make(len(result))
        return result

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        self.budget.step()
        if operator == "+":
            self.budget.make(_size(left) + _size(right))
        elif operator == "%" and isinstance(left, str):
            if _WIDE_FORMAT.search(left):
                raise TemplateError("template", "formats with a width, which templates may not use")
            self.budget.make(len(left) + _size(right) + (sum(map(_size, right)) if isinstance(right, tuple) else 0))
        elif operator == "*":
            _check_product(left, right)
            if isinstance(left, int) != isinstance(right, int):
                count, sized = (left, right) if isinstance(left, int) else (right, left)
                self.budget.make(max(0, int(count)) * _size(sized))
        elif operator == "**":
            _check_power(left, right)
        return super().call_binop(context, operator, left, right)

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            self.budget.step()
            result = function(*args, **kwargs)
            if isinstance(result, (str, list, tuple)):
                self.budget.make(len(result))
            return result

        return call

    def _turns(self, items: Iterable[Any]) -> Iterator[Any]:
        budget = self.budget
        for item in items:
            budget.step()
            yield item

    def _concat(self, parts: list[Any]) -> str:
        texts = [str(part) for part in parts]
        self.budget.make(sum(map(len, texts)))
        return "".join(texts)

    def _range(self, *args: int) -> range:
        result = range(*args)
        self.budget.make(len(result))
        return result

    def _join(self, items: Iterable[Any], d: str = "", attribute: str | None = None) -> str:
        texts = []
        for item in items:
            texts.append(str(item if attribute is None else self.getitem(item, attribute)))
            self.budget.make(len(texts[-1]) + len(d))
        return str(d).join(texts)

    def _replace(self, value: Any, before: Any, after: Any, count: int | None = None) -> str:
        text, old, new = str(value), str(before), str(after)
        limit = -1 if count is None else int(count)
        self.budget.make(len(text) + (text.count(old) if limit < 0 else min(text.count(old), limit)) * len(new))
        return text.replace(old, new, limit)

    def _indent(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(text: str, width: int | str = 4, *args: Any, **kwargs: Any) -> Any:
            step = len(width) if isinstance(width, str) else int(width)
            self.budget.make(step * (str(text).count("\n") + 1))
            return function(text, width, *args, **kwargs)

        return call


def _check_attribute(obj: Any, name: object) -> None:
    if isinstance(obj, str) and isinstance(name, str) and name in _GROWING_METHODS:
        raise TemplateError("template", f"uses str.{name}(), which templates may not")


def _size(value: Any) -> int:
    return len(value) if isinstance(value, (str, list, tuple)) else 16


def _check_product(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > 1024:
        raise TemplateError("template", "multiplies numbers of more than 1024 bits")


def _check_power(left: Any, right: Any) -> None:
    if not (isinstance(right, (int, float)) and abs(right) <= 64 and abs(left) < 2**64):
        raise TemplateError("template", "raises to a power above 64")


def _to_json(value: Any, indent: int | None = None, **options: Any) -> str:
    if indent is not None and not 0 <= int(indent) <= 16:
        raise TemplateError("template", f"asks for JSON with an indent of {indent}; at most 16")
    allowed: dict[str, Any] = {"ensure_ascii": False}
    allowed |= {key: options[key] for key in ("separators", "sort_keys", "ensure_ascii") if key in options}
    return json.dumps(value, indent=indent, **allowed)


def _raise_exception(message: str) -> None:
    raise _Refused(message)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(str(form)[:100])


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

    def render(self, names: Mapping[str, Any]) -> str:
        """Render with these variables. Raises InvalidArgument with the template's message if it rejects the input."""
        _environment.budget = budget = Budget()
        try:
            parts = []
            for part in self._template.generate(names):
                budget.make(len(part))
                parts.append(part)
            return "".join(parts)
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
