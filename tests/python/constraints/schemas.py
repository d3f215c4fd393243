"""Schemas of requests as programs write them, small enough for a tiny model to finish."""

from __future__ import annotations

from typing import Any

_WORD = {"type": "string", "maxLength": 8}
_SMALL = {"type": "integer", "minimum": -9, "maximum": 99}


def _object(*optional: str, **properties: Any) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


SCHEMAS: tuple[dict[str, Any], ...] = (
    {"type": "boolean"},
    {"type": "null"},
    _SMALL,
    {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 6},
    {"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 70},
    {"type": "number", "minimum": 0, "maximum": 1},
    {"type": "number", "multipleOf": 0.25, "minimum": 0, "maximum": 20},
    {"type": "string", "minLength": 3, "maxLength": 6},
    {"type": "string", "pattern": "^[A-Z][a-z]{2,5}$"},
    {"type": "string", "pattern": "[0-9]{3}", "maxLength": 12},
    {"type": "string", "format": "date"},
    {"type": "string", "format": "ipv6"},
    {"type": "string", "format": "uuid"},
    {"type": "string", "format": "ipv4"},
    {"enum": ["red", "green", 3, None, {"a": [1]}]},
    {"const": 'é "quoted" \\ \n'},
    {"const": {"b": 1, "a": [True, None]}},
    {"type": ["boolean", "null"]},
    {"type": "array", "items": _SMALL, "minItems": 2, "maxItems": 4},
    {"type": "array", "prefixItems": [{"type": "boolean"}, _SMALL], "items": False, "minItems": 2},
    {"type": "array", "prefixItems": [_WORD], "items": _SMALL, "minItems": 1, "maxItems": 3},
    {"type": "array", "items": {"type": "array", "items": _SMALL, "maxItems": 2}, "maxItems": 2},
    _object(),
    _object(name=_WORD, age=_SMALL),
    _object("age", name=_WORD, age=_SMALL),
    _object("a", "b", "c", a=_SMALL, b=_SMALL, c=_SMALL),
    _object(inner=_object(x=_SMALL, y=_SMALL), list={"type": "array", "items": _WORD, "maxItems": 2}),
    {"type": "object", "additionalProperties": _SMALL, "maxProperties": 2},
    {"type": "object", "patternProperties": {"^k[0-9]$": _SMALL}, "additionalProperties": False, "maxProperties": 2},
    {"anyOf": [_SMALL, {"type": "boolean"}]},
    {"anyOf": [_object(kind={"const": "a"}, n=_SMALL), _object(kind={"const": "b"}, s=_WORD)]},
    {"oneOf": [_object(kind={"const": "a"}, n=_SMALL), _object(kind={"const": "b"}, s=_WORD)]},
    {"oneOf": [{"type": "string", "maxLength": 5}, {"type": "null"}]},
    {"allOf": [{"type": "integer", "minimum": 5}, {"maximum": 20}]},
    {"$ref": "#/$defs/color", "$defs": {"color": {"enum": ["red", "blue"]}}},
    {"definitions": {"n": _SMALL}, **_object(n={"$ref": "#/definitions/n"})},
    {
        "$ref": "#/$defs/tree",
        "$defs": {
            "tree": _object(n=_SMALL, kids={"type": "array", "items": {"$ref": "#/$defs/leaf"}, "maxItems": 2}),
            "leaf": _object(n=_SMALL),
        },
    },
    _object(**{'we"ird\n': _SMALL, "é": {"type": "boolean"}, "not": _SMALL, "$ref": _SMALL}),
    _object(
        "when", title={"type": "string", "minLength": 1, "maxLength": 10}, when={"type": "string", "format": "date"}
    ),
    {**_object(a=_SMALL), "title": "T", "description": "d", "$comment": "c", "examples": [{"a": "x"}], "default": 3},
)
