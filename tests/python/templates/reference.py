"""Jinja as transformers sets it up for chat templates: what Flyball's renderings are compared with."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any

from jinja2 import Environment, Template, TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEnvironment


class _Generation(Extension):
    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Any) -> Any:
        return caller()


def _to_json(
    x: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _set_up(kind: type[Environment]) -> Environment:
    environment = kind(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation], cache_size=0
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


@cache
def _strict() -> Environment:
    return _set_up(ImmutableSandboxedEnvironment)


@cache
def _wider() -> Environment:
    """With what Flyball has besides: `from_json`, and changes to lists and mappings."""
    environment = _set_up(SandboxedEnvironment)
    environment.filters["from_json"] = json.loads
    return environment


@cache
def _compiled(source: str, wider: bool) -> Template:
    return (_wider() if wider else _strict()).from_string(source)


def render(
    source: str,
    messages: list[dict[str, Any]],
    variables: Mapping[str, Any] | None = None,
    *,
    bos: str = "",
    eos: str = "",
    wider: bool = False,
) -> str | None:
    """The text, or None where the template or Jinja refuses."""
    names: dict[str, Any] = {"add_generation_prompt": True, "tools": None, "documents": None}
    names |= {**(variables or {}), "bos_token": bos, "eos_token": eos, "messages": messages}
    try:
        return _compiled(source, wider).render(**copy.deepcopy(names))
    except Exception:  # templates fail in every way that Python has
        return None
