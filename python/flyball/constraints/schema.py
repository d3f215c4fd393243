"""JSON Schemas: their canonical text, and the keywords that cannot be guaranteed.

llguidance refuses most keywords that it does not implement, but only those of the schema's own draft. What another
draft has, and what is misspelled, would pass silently and allow too much: it is refused here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import InvalidArgument, Unsupported

_WHERE = "json_schema"
_DRAFTS = tuple(
    f"{scheme}://json-schema.org/{draft}/schema"
    for scheme in ("http", "https")
    for draft in ("draft-06", "draft-07", "draft/2019-09", "draft/2020-12")
)
_REFUSED = frozenset({
    "not", "if", "then", "else", "contains", "minContains", "maxContains", "uniqueItems", "propertyNames",
    "dependencies", "dependentRequired", "dependentSchemas", "unevaluatedItems", "unevaluatedProperties",
    "$dynamicRef", "$recursiveRef", "divisibleBy", "disallow", "extends", "nullable", "x-guidance",
})  # fmt: skip
_MAPS = ("properties", "patternProperties", "$defs", "definitions")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
_SINGLE = ("items", "additionalItems", "additionalProperties")
ASSERTIONS = frozenset({
    "type", "enum", "const", "multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "maxLength",
    "minLength", "pattern", "format", "maxItems", "minItems", "maxProperties", "minProperties", "required", "$ref",
}).union(_REFUSED, _MAPS, _LISTS, _SINGLE)  # fmt: skip


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace("$", "")


# Part of what a receipt's constraint means: unbounded white space, a model could go on with for ever.
WRITTEN = {
    "whitespace_pattern": r"(\x20|\r?\n[\x20\t]{0,32})",  # as JSON is written
    "whitespace_flexible": True,
    "coerce_one_of": False,
    "lenient": False,
    "item_separator": ",",
    "key_separator": ":",
}
_SPELLED = {_plain(name): name for name in sorted(ASSERTIONS)}


def canonical(schema: Mapping[str, Any] | str | bool) -> str:
    """A checked schema as JSON text without needless space; the order of members, which answers follow, stays."""
    if isinstance(schema, str):
        schema = parse(schema)
    if schema is True:
        schema = {}
    if schema is False:
        raise InvalidArgument(_WHERE, "is false, under which nothing is valid")
    if not isinstance(schema, Mapping):
        raise InvalidArgument(_WHERE, f"is {type(schema).__name__}, must be an object or its JSON text")
    try:
        text = json.dumps(schema, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_as_dict)
        check(json.loads(text))
    except RecursionError:
        raise InvalidArgument(_WHERE, "is nested too deeply") from None
    except (TypeError, ValueError) as error:
        if isinstance(error, InvalidArgument | Unsupported):
            raise
        raise InvalidArgument(_WHERE, f"is not JSON: {error}") from None
    return text


def in_grammar(text: str) -> str:
    """A schema's JSON text as `%json` takes it, checked, and with white space as answers have it."""
    schema = parse(text)
    check(schema)
    return json.dumps(schema | {"x-guidance": WRITTEN}, ensure_ascii=False, separators=(",", ":"))


def parse(text: str) -> Any:
    """JSON of a caller; duplicate members are refused."""

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            name = next(name for i, (name, _) in enumerate(pairs) if name in dict(pairs[:i]))
            raise InvalidArgument(_WHERE, f"has the member {name!r} twice")
        return found

    def constant(word: str) -> Any:
        raise ValueError(f"{word} is no JSON")

    try:
        return json.loads(text, object_pairs_hook=members, parse_constant=constant)
    except RecursionError:
        raise InvalidArgument(_WHERE, "is nested too deeply") from None
    except ValueError as error:
        if isinstance(error, InvalidArgument):
            raise
        raise InvalidArgument(_WHERE, f"is not JSON: {error}") from None


def check(schema: Any, path: str = "$") -> None:
    """Raise Unsupported or InvalidArgument for what llguidance would pass over, with its path."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise InvalidArgument(_WHERE, f"{path}: must be an object or a boolean")
    for key, value in schema.items():
        place = member(path, key)
        if key in _REFUSED:
            raise Unsupported(_WHERE, f"{place}: keyword is not supported")
        if key not in ASSERTIONS and (meant := _SPELLED.get(_plain(key))) not in (None, "nullable", "x-guidance"):
            raise InvalidArgument(_WHERE, f"{place}: is no keyword of JSON Schema; {meant!r} is")
        if key == "$schema" and (not isinstance(value, str) or value.rstrip("#") not in _DRAFTS):
            raise Unsupported(_WHERE, f"{place}: is {value!r}; draft-06 to 2020-12 are supported")
        if key in ("exclusiveMinimum", "exclusiveMaximum") and isinstance(value, bool):
            raise Unsupported(_WHERE, f"{place}: is a boolean, as in draft-04; give the number itself")
    for place, inner in inside(schema, path):
        check(inner, place)


def inside(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    """The schemas directly inside of one, with their paths."""
    for key in (key for key in schema if key in _MAPS or key in _LISTS or key in _SINGLE):
        value, place = schema[key], member(path, key)
        if key in _MAPS and isinstance(value, dict):
            yield from ((member(place, name), inner) for name, inner in value.items())
        elif key in _LISTS and isinstance(value, list):
            yield from ((f"{place}[{i}]", inner) for i, inner in enumerate(value))
        elif key in _SINGLE:
            yield place, value


def member(path: str, name: str) -> str:
    """The path of a member: $.a, or $["a b"]."""
    plain = name.removeprefix("$").replace("-", "_").isidentifier()
    return f"{path}.{name}" if plain else f"{path}[{json.dumps(name, ensure_ascii=False)}]"


def _as_dict(value: object) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
