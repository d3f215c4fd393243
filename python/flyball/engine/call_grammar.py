"""The grammar of an answer that must call tools, for llguidance, from the way its format writes calls."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..answers.forms import Writing
from ..answers.values import kinds_of
from ..constraints.schema import ASSERTIONS, canonical, in_grammar
from ..errors import Error, InvalidArgument, Unsupported

_MOST_CALLS = 32  # of an answer
_NAME = re.compile(r"[\w.:-]{1,256}", re.ASCII)
_CLOSING = re.compile(r"</[^<>]*>")
_ROOT = ("$defs", "definitions")  # what references in a part of a schema need
_OF_ARGUMENTS = frozenset({"type", "properties", "required", "additionalProperties", *_ROOT})
_COMPOSED = ("allOf", "anyOf", "oneOf", "$ref", "patternProperties")


def call_grammar(
    writing: Writing,
    tools: Sequence[Mapping[str, Any]],
    controls: Mapping[int, str],
    one: bool = False,
    otherwise: str | None = None,
) -> str:
    """The grammar of calls of these tools, in OpenAI's form. Raises Unsupported with what cannot be guaranteed.

    one        at most one call
    otherwise  a JSON Schema: the answer is calls, or this
    """
    return _Grammar(writing, controls).text(tools, one, otherwise)


def parameters_of(tool: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """A tool's name and the schema of its arguments."""
    function = tool.get("function", tool)
    name, given = str(function.get("name")), function.get("parameters")
    if given is None:
        return name, {"type": "object", "properties": {}, "additionalProperties": False}
    if not isinstance(given, Mapping) or given.get("type", "object") != "object":
        raise InvalidArgument("tools", f"have {name!r}, whose parameters are no schema of an object")
    schema = {"type": "object"} | dict(given)
    if "properties" in schema and not any(word in schema for word in _COMPOSED):
        schema.setdefault("additionalProperties", False)  # the schema leaves it open: what nobody declared helps nobody
    return name, schema


class _Grammar:
    def __init__(self, writing: Writing, controls: Mapping[int, str]) -> None:
        self._writing = writing
        self._ids = {text: token for token, text in sorted(controls.items(), reverse=True) if text}
        self._rules: list[str] = []
        argument = writing.argument or ()
        closing = _CLOSING.findall("".join((*argument[2:], writing.call[2], writing.around[1])))
        self._closing = [
            each for each in dict.fromkeys(closing) if len(self._parts(each)) == 1 and each not in self._ids
        ]

    def text(self, tools: Sequence[Mapping[str, Any]], one: bool, otherwise: str | None) -> str:
        calls = [self._call(number, tool) for number, tool in enumerate(tools)]
        between = None if one else self._writing.between
        before, after = (self._lark(text) for text in self._writing.around)
        more = f" ({self._lark(between)} call){{0,{_MOST_CALLS - 1}}}" if between is not None else ""
        start = f"start: {before} call{more} {after}"
        if otherwise is not None:
            start += f" | body\nbody: %json {in_grammar(otherwise)}"
        return "\n".join([start, f"call: {' | '.join(calls)}", *self._rules, ""])

    def _call(self, number: int, tool: Mapping[str, Any]) -> str:
        name, schema = parameters_of(tool)
        if not _NAME.fullmatch(name):
            raise Unsupported(
                "tools", f"have the name {name!r}: calls are forced only of names of letters, digits and _.:-"
            )
        before, inside, after = self._writing.call
        try:
            checked = canonical(schema)
            made = (
                self._arguments(number, json.loads(checked))
                if self._writing.argument
                else f"%json {in_grammar(checked)}"
            )
        except Error as error:
            raise type(error)("tools", f"have {name!r}, whose parameters cannot be guaranteed: {error.what}") from None
        self._rules += [f"call_{number}: {self._lark(before + name + inside)} args_{number} {self._lark(after)}",
                        f"args_{number}: {made}"]  # fmt: skip
        return f"call_{number}"

    def _arguments(self, number: int, schema: dict[str, Any]) -> str:
        """Arguments between tags, in the schema's order."""
        if more := sorted(key for key in schema if key in ASSERTIONS - _OF_ARGUMENTS):
            raise Unsupported("parameters", f"$.{more[0]}: is not supported where arguments stand between tags")
        properties, required = schema.get("properties", {}), schema.get("required", [])
        if missing := [name for name in required if name not in properties]:
            raise Unsupported("parameters", f"$.required: has {missing[0]!r}, which is no property")
        root = {key: schema[key] for key in _ROOT if key in schema}
        names = []
        for place, (key, inner) in enumerate(properties.items()):
            rule = f"arg_{number}_{place}"
            self._rules.append(f"{rule}: {self._argument(rule, key, inner, root)}")
            names.append(rule if key in required else rule + "?")
        return " ".join(names) or '""'

    def _argument(self, rule: str, key: str, schema: Any, root: dict[str, Any]) -> str:
        path = f"$.properties.{key}"
        if not _NAME.fullmatch(key):
            raise Unsupported("parameters", f"{path}: has a name that cannot stand in a tag")
        assert self._writing.argument is not None
        before, inside, after = self._writing.argument
        value, is_text = self._value(rule.upper(), path, schema, root)
        inside = inside.replace("{{string}}", "true" if is_text else "false")
        return f"{self._lark(before + key + inside)} {value} {self._lark(after)}"

    def _value(self, terminal: str, path: str, schema: Any, root: dict[str, Any]) -> tuple[str, bool]:
        """The grammar of a value, and whether it is a text without quotes."""
        given = schema if isinstance(schema, dict) else {}
        asserts = ASSERTIONS.intersection(given)
        kinds = set(kinds_of(given, 0))
        if not asserts:
            return self._free_text(terminal, 0, None), True
        if "string" not in kinds:
            return f"%json {in_grammar(json.dumps(given | root))}", False
        values = given["enum"] if "enum" in given else [given["const"]] if "const" in given else None
        if (
            values is not None
            and asserts <= {"type", "enum", "const"}
            and all(isinstance(each, str) for each in values)
        ):
            return "(" + " | ".join(self._lark(each, plain=True) for each in values) + ")", True
        if asserts <= {"type", "minLength", "maxLength"} and kinds <= {"string", "null"}:
            return self._free_text(terminal, given.get("minLength", 0), given.get("maxLength")), True
        inner = [each for each in given.get("anyOf", ()) if each != {"type": "null"}]
        if asserts == {"anyOf"} and len(inner) == 1:
            value, is_text = self._value(terminal, f"{path}.anyOf", inner[0], root)
            return f'({value} | "null")', is_text
        word = next(iter(sorted(asserts - {"type", "minLength", "maxLength"})), "type")
        raise Unsupported("parameters", f"{path}.{word}: is not supported for texts that stand between tags")

    def _free_text(self, terminal: str, least: int, most: int | None) -> str:
        """A text without the tags that end it."""
        without = "".join(f" & ~/(.|\\n)*{_as_pattern(each)}(.|\\n)*/" for each in self._closing)
        self._rules.append(f"{terminal}: /(.|\\n){{{least},{'' if most is None else most}}}/{without}")
        return terminal

    def _parts(self, text: str) -> list[str]:
        known = sorted((each for each in self._ids if each in text), key=len, reverse=True)
        parts = re.split("(" + "|".join(map(re.escape, known)) + ")", text) if known else [text]
        return [part for part in parts if part]

    def _lark(self, text: str, plain: bool = False) -> str:
        """A text of the format, in which control tokens and {{number}} may stand. `plain`: a text of the request."""
        parts = [text] if plain else [
            each for part in self._parts(text) for each in re.split(r"(\{\{number\}\})", part) if each
        ]  # fmt: skip
        ids = {} if plain else self._ids
        made = ["/[0-9]{1,4}/" if each == "{{number}}" and not plain else f"<[{ids[each]}]>" if each in ids
                else json.dumps(each, ensure_ascii=False) for each in parts]  # fmt: skip
        return " ".join(made) or '""'


def _as_pattern(text: str) -> str:
    return re.escape(text).replace("/", "\\/")
