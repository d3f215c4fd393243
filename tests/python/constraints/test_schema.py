"""What is refused of JSON Schemas, with its path, before anything is computed."""

from __future__ import annotations

from typing import Any

import pytest

import flyball
from flyball.constraints.schema import canonical

REFUSED: list[tuple[Any, type[flyball.Error], str]] = [
    ({"properties": {"a": {"not": {}}}}, flyball.Unsupported, "$.properties.a.not: keyword is not supported"),
    ({"anyOf": [{}, {"uniqueItems": True}]}, flyball.Unsupported, "$.anyOf[1].uniqueItems: keyword is"),
    # llguidance passes over the keywords of another draft:
    (
        {"$schema": "http://json-schema.org/draft-07/schema#", "dependentRequired": {"a": ["b"]}},
        flyball.Unsupported,
        "$.dependentRequired",
    ),
    ({"dependencies": {"a": ["b"]}}, flyball.Unsupported, "$.dependencies"),
    ({"items": {"if": {}, "then": {}}}, flyball.Unsupported, "$.items.if"),
    ({"$defs": {"x y": {"contains": {}}}}, flyball.Unsupported, '$.$defs["x y"].contains'),
    ({"additionalProperties": {"nullable": True}}, flyball.Unsupported, "$.additionalProperties.nullable"),
    ({"x-guidance": {"lenient": True}, "type": "string"}, flyball.Unsupported, "$.x-guidance"),
    ({"$schema": "http://json-schema.org/draft-04/schema#"}, flyball.Unsupported, "draft-06 to 2020-12"),
    ({"minimum": 3, "exclusiveMinimum": True}, flyball.Unsupported, "$.exclusiveMinimum: is a boolean"),
    ({"type": "string", "maxlength": 3}, flyball.InvalidArgument, "$.maxlength: is no keyword of JSON Schema; 'maxLen"),
    ({"type": "object", "min_properties": 3}, flyball.InvalidArgument, "'minProperties'"),
    ({"items": [{"type": "string"}, 7]}, flyball.InvalidArgument, "$.items[1]: must be an object or a boolean"),
    (False, flyball.InvalidArgument, "nothing is valid"),
    (7, flyball.InvalidArgument, "is int"),
    ("{", flyball.InvalidArgument, "is not JSON"),
    ('{"a": NaN}', flyball.InvalidArgument, "NaN"),
    ('{"type": "string", "type": "integer"}', flyball.InvalidArgument, "'type' twice"),
    ({"enum": [float("nan")]}, flyball.InvalidArgument, "is not JSON"),
    ({"enum": [{1}]}, flyball.InvalidArgument, "set has no JSON form"),
    ({"const": "\ud800"}, flyball.InvalidArgument, "lone surrogate"),
    ("[" * 100_000, flyball.InvalidArgument, "nested too deeply"),
    ('{"items":' * 5000 + "{}" + "}" * 5000, flyball.InvalidArgument, "nested too deeply"),
    ({"description": "x" * (1 << 20)}, flyball.InvalidArgument, "bytes, at most"),
]


@pytest.mark.parametrize(("schema", "kind", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_guaranteed(schema: Any, kind: type[flyball.Error], message: str) -> None:
    with pytest.raises(flyball.Error) as caught:
        flyball.Constraint.json_schema(schema)
    assert type(caught.value) is kind
    assert str(caught.value).startswith("json_schema: ")
    assert message in str(caught.value)


BY_LIBRARY: list[tuple[Any, type[flyball.Error], str]] = [
    ({"properties": {"a": {"items": {"format": "hex"}}}}, flyball.Unsupported, "$.properties.a.items: Unknown format"),
    ({"type": "strin"}, flyball.InvalidArgument, "$: Invalid type"),
    ({"properties": {"a": {"allOf": [{"type": "string"}, {"pattern": "(?=a)"}]}}}, flyball.Unsupported, "look-around"),
    (
        {"$ref": "#/$defs/x", "$defs": {"x": {"oneOf": [{"type": "string"}, {"maxLength": 3}]}}},
        flyball.Unsupported,
        "$.$defs.x: oneOf is not supported where",
    ),
    ({"$ref": "#/nowhere"}, flyball.InvalidArgument, "nowhere"),
    ({"$ref": "https://example.org/x"}, flyball.InvalidArgument, "does not fetch"),
    ({"enum": []}, flyball.InvalidArgument, "Unsatisfiable"),
    ({"minLength": -1}, flyball.InvalidArgument, "minLength"),
    ({"type": "object", "properties": {"a": {}}, "minProperties": 1}, flyball.Unsupported, "only supported when"),
]


@pytest.mark.parametrize(("schema", "kind", "message"), BY_LIBRARY, ids=range(len(BY_LIBRARY)))
def test_what_the_library_refuses(demo: flyball.Model, schema: Any, kind: type[flyball.Error], message: str) -> None:
    with pytest.raises(flyball.Error) as caught:
        demo.generate("x", 1, json_schema=schema)
    assert type(caught.value) is kind
    assert message in str(caught.value)


def test_annotations_and_names_like_keywords_pass() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://example.org/x",
        "title": "t",
        "x-order": 1,
        "propertyOrdering": ["not"],
        "properties": {"not": {"type": "string", "default": {"if": 1}}, "maxlength": {"const": {"not": 1}}},
        "definitions": {"if": True},
    }
    flyball.Constraint.json_schema(schema)


def test_the_text_is_canonical_and_keeps_the_order() -> None:
    assert canonical('{ "b" : 1.50,\n "a": "é" }') == '{"b":1.5,"a":"é"}'
    assert canonical({"b": (1, 2), "a": {}}) == '{"b":[1,2],"a":{}}'
    assert canonical(True) == canonical("true") == "{}"
