"""Values of arguments that come as text without quotes: their types are those of the tool's schema."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_WORDS = {"true": True, "false": False, "null": None, "none": None}
_KINDS: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


loads = json.JSONDecoder(strict=False, parse_constant=_no_constant)  # models break lines inside of strings


class Types:
    """The types that tools' schemas give to parameters."""

    def __init__(self, tools: Sequence[Mapping[str, Any]]) -> None:
        self._parameters: dict[str, Mapping[str, Any]] = {}
        for tool in tools:
            function = _mapping(tool.get("function", tool))
            properties = _mapping(_mapping(function.get("parameters")).get("properties"))
            if isinstance(name := function.get("name"), str):
                self._parameters[name] = properties

    @property
    def names(self) -> set[str]:
        """The names of all tools."""
        return set(self._parameters)

    def value(self, tool: str, parameter: str, text: str, typed: bool = False) -> Any:
        """The value of a parameter's text. `typed`: the model says that it is no text."""
        kinds = set(kinds_of(self._parameters.get(tool, {}).get(parameter), 0)) - ({"string"} if typed else set())
        if not kinds:
            return self.guess(text)
        if kinds == {"string"}:
            return text
        value = self.guess(text)
        fits = any(isinstance(value, _KINDS.get(kind, (object,))) for kind in kinds - {"string"})
        return value if fits or "string" not in kinds else text

    @staticmethod
    def guess(text: str) -> Any:
        """The value of a JSON text or of a word that Python has for one; any other text is itself."""
        stripped = text.strip()
        try:
            value, end = loads.raw_decode(stripped)
            return value if end == len(stripped) else text
        except (ValueError, RecursionError):
            return _WORDS.get(stripped.lower(), text)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def kinds_of(schema: object, depth: int) -> Iterator[str]:
    """The names of types in a schema; none if it does not say."""
    if not isinstance(schema, Mapping) or depth > 8:
        return
    kinds = schema.get("type")
    yield from [kinds] if isinstance(kinds, str) else [each for each in kinds or () if isinstance(each, str)]
    for word in ("anyOf", "oneOf", "allOf"):
        for each in schema.get(word) or ():
            yield from kinds_of(each, depth + 1)
    if kinds is None:
        for value in [*(schema.get("enum") or ()), *([schema["const"]] if "const" in schema else [])]:
            yield "string" if isinstance(value, str) else "other"


def python_value(node: ast.expr) -> Any:
    """The value of a literal in Python's or JSON's words; raises ValueError."""
    match node:
        case ast.Name(id=name) if name.lower() in _WORDS:
            return _WORDS[name.lower()]
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [python_value(item) for item in items]
        case ast.Dict(keys=keys, values=values):
            return {str(python_value(key)): python_value(value) for key, value in zip(keys, values, strict=True) if key}
        case ast.Constant(value=str() | int() | float() | None):
            return node.value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float())):
            return ast.literal_eval(node)
    raise ValueError("not a literal")
