"""The form that a request wants its answer to have: read from its members, and compiled before it waits for its turn.

What cannot be guaranteed is refused with 400, the member, and the keyword's path. There is no answer without the form.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..constraints.constraint import Constraint
from ..engine.call_grammar import parameters_of
from ..errors import Error
from .bodies import Body, kind
from .failures import Failure

if TYPE_CHECKING:
    from .answering import Ask
    from .models import Served

_VLLM = {"guided_json": "json_schema", "guided_regex": "regex", "guided_choice": "choice", "guided_grammar": "gbnf"}
_LLAMA = {"json_schema": "json_schema", "grammar": "gbnf"}
_STRUCTURED = {
    "json": "json_schema", "json_object": "json_object", "regex": "regex", "choice": "choice", "grammar": "gbnf",
}  # fmt: skip
_JSON = ("json_schema", "json_object")


@dataclass(frozen=True)
class Form:
    """What an answer must be. `param`: the member that says so.

    kind, value  a constraint's, of the text for the user; kind "": none
    tools        that the answer must call; with a kind as well: it calls them, or has that form
    one          at most one call; without kind and tools that is all: the answer is free, and ends with a call
    """

    param: str
    kind: str = ""
    value: Any = None
    tools: Sequence[Mapping[str, Any]] = ()
    one: bool = False

    @property
    def is_free(self) -> bool:
        """Whether the answer has no form, but for its end."""
        return not self.kind and not self.tools

    def constraint(self, served: Served, prompt: Sequence[int] | None) -> Constraint:
        """The constraint of an answer; raises an Error. `prompt`: of a chat, whose answer may begin with thoughts."""
        if self.tools:
            made = self._calls(served)
        else:
            value = () if self.kind == "json_object" else (self.value,)
            made = getattr(Constraint, self.kind)(*value)
        if prompt is not None:
            made = served.chat.constrained(made, prompt)
        served.model.compile(made)
        return made

    def _calls(self, served: Served) -> Constraint:
        otherwise = None
        if self.kind:
            otherwise = Constraint.json_schema({"type": "object"} if self.kind == "json_object" else self.value).text
        made = served.chat.calls(self.tools, one=self.one, otherwise=otherwise)
        try:
            served.model.compile(made)
        except Error:
            for tool in self.tools:  # which of them, and where
                served.chat.calls([tool])
                served.model.compile(Constraint.json_schema(parameters_of(tool)[1]))
            raise
        return made


async def options(
    given: Mapping[str, Any], form: Form | None, served: Served, prompt: Sequence[int] | None = None
) -> dict[str, Any]:
    """generate()'s options, completed for an answer of this form; Failure 400 if it cannot be guaranteed.

    prompt  of a chat
    """
    if form is None:
        return dict(given)
    if form.is_free:
        tokens, texts = served.chat.call_ends()
        return {**given, "stop_token_ids": tokens, "stop": [*given["stop"], *texts]}
    async with served.compiling:  # one after the other: others need threads, too
        try:
            return {**given, "constraint": await asyncio.to_thread(form.constraint, served, prompt)}
        except Error as error:
            place = f"{error.where} " if error.where in ("constraint", "tools") else ""
            message = f"{form.param}: {place}{error.what}"
            raise Failure(400, message, param=form.param, code=error.code) from None


def not_strict(tools: Sequence[Mapping[str, Any]], forced: Sequence[Mapping[str, Any]]) -> list[str]:
    """The members that ask for arguments which nothing holds to their schema: of calls that the model may make."""
    names = [] if forced else [tool["function"].get("strict") for tool in tools]
    return [f"tools[{number}].function.strict" for number, strict in enumerate(names) if strict is True]


def ignored(form: Form | None, served: Served) -> list[str]:
    """The member that has no effect: calls of this model's format have no end by which to tell one from the next."""
    return [form.param] if form is not None and form.is_free and not any(served.chat.call_ends()) else []


async def ready(ask: Ask) -> None:
    """Compile again what other requests may have displaced, beside the event loop."""
    if (constraint := ask.options.get("constraint")) is not None:
        await asyncio.to_thread(ask.served.model.compile, constraint)


# ---------------------------------------------------------------- members


def of_openai(body: Body) -> Form | None:
    """From OpenAI's response_format, llama-server's json_schema and grammar, and vLLM's structured_outputs and
    guided_*: one of them."""
    found = [_response_format(body), _structured(body), *_plain(body, _LLAMA), *_plain(body, _VLLM)]
    return _only(body, [form for form in found if form is not None])


def of_llama(body: Body) -> Form | None:
    """From llama-server's json_schema and grammar."""
    return _only(body, _plain(body, _LLAMA))


def of_ollama(body: Body) -> Form | None:
    """From Ollama's format: "json", or a schema."""
    given = body.get("format")
    if given in (None, ""):
        return None
    if given == "json":
        return Form("format", "json_object")
    if not isinstance(given, dict):
        body.refuse("format", f'must be "json" or a schema, is {kind(given)}')
    return Form("format", "json_schema", given)


def of_schema(body: Body, param: str, wanted: str, schema: Any) -> Form | None:
    """From a member that has a type and, for json_schema, a schema."""
    if wanted == "text":
        return None
    if wanted == "json_object":
        return Form(param, wanted) if schema is None else Form(param, "json_schema", schema)
    if not isinstance(schema, dict):
        body.refuse(param, f"needs a schema, an object; it has {kind(schema)}")
    return Form(param, "json_schema", schema)


def calling(
    form: Form | None, tools: Sequence[Mapping[str, Any]], forced: Sequence[Mapping[str, Any]], one: bool
) -> Form | None:
    """The form of an answer to which tools are given. `forced`: it must call one of these."""
    if forced:
        return Form("tool_choice", tools=forced, one=one)
    if not tools:
        return form
    if form is None:
        return Form("parallel_tool_calls", one=True) if one else None
    if form.kind not in _JSON:
        what = "does not go with tools: an answer in its form could call none; use JSON, or tool_choice none"
        raise Failure(400, f"{form.param}: {what}", param=form.param, code="invalid_value")
    return replace(form, tools=tools, one=one)


def named(body: Body, tools: Sequence[Mapping[str, Any]], name: str | None) -> list[Mapping[str, Any]]:
    """The tools of which an answer must call one: all of them, or that of this name."""
    forced = [tool for tool in tools if name is None or tool["function"]["name"] == name]
    if not forced:
        body.refuse(
            "tool_choice", "asks for a tool, and there is none" if name is None else "names no tool that is there"
        )
    return forced


def _response_format(body: Body) -> Form | None:
    given = body.inside("response_format")
    if given is None:
        return None
    wanted = given.choice("type", ("text", "json_object", "json_schema"), "text")
    if wanted == "json_schema" and (inner := given.inside("json_schema")) is not None:
        return of_schema(body, "response_format.json_schema.schema", wanted, inner.get("schema"))
    return of_schema(body, "response_format", wanted, given.get("schema"))


def _structured(body: Body) -> Form | None:
    given = body.inside("structured_outputs")
    if given is None:
        return None
    found = [
        Form(f"structured_outputs.{name}", kind, given.get(name))
        for name, kind in _STRUCTURED.items()
        if given.get(name) not in (None, False)
    ]
    if strange := given.unread():
        body.refuse(strange[0], f"is not supported; there are {', '.join(_STRUCTURED)}")
    return _only(body, found)


def _plain(body: Body, names: Mapping[str, str]) -> list[Form]:
    """Members whose value is the constraint's."""
    return [Form(name, kind, body.get(name)) for name, kind in names.items() if body.get(name) not in (None, "")]


def _only(body: Body, forms: Sequence[Form]) -> Form | None:
    if len(forms) > 1:
        body.refuse(forms[1].param, f"is given beside {forms[0].param}; an answer has one form")
    return forms[0] if forms else None
