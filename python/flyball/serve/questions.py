"""From a request's body to a question: sampling options, messages, prompts. What the APIs have in common."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from ..engine.messages import now
from ..errors import Error
from ..store.store import DEFAULT_PROJECT
from . import constraining, remembering
from .adapter_wishes import CHOSEN, wanted_of
from .adapters import Chosen
from .answering import Ask
from .bodies import Body, kind
from .caching import caching_of
from .failures import Failure
from .resuming import Origin
from .routing import is_routed
from .telling import tell
from .wishes import ROUTED, asked_in, wish_of

if TYPE_CHECKING:
    from ..answers.parser import AnswerParser
    from .constraining import Form
    from .models import Served
    from .server import Server

MOST_CHOICES = 128
MOST_PRIORITY = 100
OPEN_SEED = "flyball.seed"  # in a request's scope: the one that it gets where it leaves that open
TRACE_CONTEXT = ("traceparent", "tracestate")  # headers
_MOST_TOP = 20
_BANNED = -100  # OpenAI's value for a token that shall never come
_INLINE_CHARACTERS = 4096  # longer prompts are made in a thread, beside which the event loop goes on
_MOST_STOPS = 16
_MOST_TOKENS = 2**31 - 1

# Members that say who asks and what for, and change no answer.
WITHOUT_EFFECT = (
    "user", "metadata", "store", "service_tier", "prompt_cache_key", "prompt_cache_retention", "safety_identifier",
    "verbosity", "prediction", "cache_prompt", "id_slot", "stream_options",
)  # fmt: skip


def server_of(request: Request) -> Server:
    """The server that a request reached."""
    server: Server = request.app.state.server
    return server


def project_of(request: Request) -> str:
    """The project of whoever asks: from the key alone."""
    return str(request.scope.get("flyball.project", DEFAULT_PROJECT))


async def body_of(request: Request, server: Server) -> Body:
    """The body of a request that asks for an answer; Failure before it is read if the server takes none now."""
    server.refuse_if_draining()
    server.queue.refuse_if_full(int(request.headers.get("content-length", 0)) // 4)
    return await Body.of(request)


async def model_of(request: Request, body: Body, name: str | None = None) -> Served:
    """The model that a request for an answer names (`name`: where that is another member); or, where it is routed, the
    one that its route leads to."""
    server, name = server_of(request), name or body.text("model")
    if server.routing is None or not is_routed(server.routing, name):
        return await server.models.get(name)
    served, routed = await server.routing.route(wish_of(request, body))
    request.scope[ROUTED], routed.asked = routed, asked_in(body)
    tell(request.scope, "flyball-route", routed.header)
    return served


def intents_of(server: Server, body: Body) -> list[str]:
    """The intents that a request's route may have; none where it is not routed."""
    routing = server.routing
    return routing.intents if routing is not None and is_routed(routing, body.text("model")) else []


def sampling(
    body: Body,
    server: Server,
    biases: Callable[[Body], dict[int, float]] | None = None,
    stop: str = "stop",
) -> dict[str, Any]:
    """generate()'s options from members that OpenAI's and llama-server's clients send.

    `biases` reads logit_bias; `stop`: what the API calls the texts that end an answer.
    """
    options = dict(server.settings.sampling)
    ranges = {
        "temperature": (0, 100), "top_p": (0, 1), "min_p": (0, 1), "repeat_penalty": (0.01, 100),
        "presence_penalty": (-2, 2), "frequency_penalty": (-2, 2),
    }  # fmt: skip
    for name, (least, most) in ranges.items():
        if (value := body.number(name, least, most)) is not None:
            options[name] = value
    if options.get("top_p") == 0:  # the likeliest token alone
        options |= {"top_p": 1.0, "top_k": 1}
    if (top_k := body.integer("top_k", -1, _MOST_TOKENS)) is not None:
        options["top_k"] = max(top_k, 0)
    if (window := body.integer("repeat_last_n", -1, _MOST_TOKENS)) is not None:
        options["repeat_window"] = window if window >= 0 else _MOST_TOKENS
    if body.has("seed"):
        options["seed"] = seed(body)
    options["stop"] = stops(body, stop)
    options["logit_bias"] = (biases or _biases)(body) or None
    options["ignore_eos"] = body.flag("ignore_eos")
    return options


def seed(body: Body) -> int | None:
    """The seed; absent or negative: None, a random one."""
    value = body.integer("seed", -(2**63), 2**64 - 1)
    return None if value is None or value < 0 else value


def stops(body: Body, name: str = "stop") -> list[str]:
    """The texts that end an answer."""
    texts = [text for text in body.texts(name) if text]
    if len(texts) > _MOST_STOPS:
        body.refuse(name, f"has {len(texts)} texts, at most {_MOST_STOPS}")
    return texts


def _biases(body: Body) -> dict[int, float]:
    given = body.get("logit_bias", {})
    if isinstance(given, list):  # llama-server's form: pairs of id and bias, or false for a ban
        given = {str(pair[0]): pair[1] for pair in given if isinstance(pair, list) and len(pair) == 2}
    if not isinstance(given, dict):
        body.refuse("logit_bias", f"must be an object of token ids, is {kind(given)}")
    biases = {}
    for token, value in given.items():
        if not (isinstance(token, str) and token.isascii() and token.isdigit()):
            body.refuse("logit_bias", f"has the key {token!r}, must be a token id")
        if value is False:
            value = _BANNED
        if isinstance(value, bool) or not isinstance(value, int | float) or not -100 <= value <= 100:
            body.refuse("logit_bias", f"of token {token} is {value!r}, must be from -100 to 100")
        biases[int(token)] = -math.inf if value <= _BANNED else float(value)
    return biases


def max_tokens(body: Body, names: Sequence[str], default: int | None, served: Served, n_prompt: int) -> int:
    """Tokens of the answer, from the first of these members that is there. -1, or no default: all that have room."""
    for name in names:
        given = body.integer(name, -1, _MOST_TOKENS)
        if given == 0:
            body.refuse(name, "is 0, must be at least 1")
        if given is not None and given > 0:
            return given
        if given == -1:
            default = None
    return default if default is not None else max(1, served.context - n_prompt + 1)


async def chat_prompt(
    served: Served, messages: Sequence[Mapping[str, Any]], variables: Mapping[str, Any]
) -> tuple[list[int], str]:
    """The prompt's ids of messages, and the time that its template was given."""
    chat = served.chat
    time = str(variables.get("strftime_now") or now()) if chat.uses_time else ""
    names = dict(variables) | ({"strftime_now": time} if time else {})

    def make() -> list[int]:
        try:
            return chat.ids(messages, **names)
        except Error as error:
            raise Failure.of(error) from None

    if sum(_length(message) for message in messages) + _length(names) <= _INLINE_CHARACTERS:
        return make(), time
    return await asyncio.to_thread(make), time


def continued(body: Body, served: Served, messages: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[int]]:
    """The messages of the prompt, and the ids that the answer goes on from: with `continue_final_message`, those of the
    last message, which is the model's own."""
    if not body.flag("continue_final_message"):
        return messages, []
    if body.flag("add_generation_prompt"):
        body.refuse("continue_final_message", "does not go with add_generation_prompt: an answer begins or goes on")
    if messages[-1]["role"] != "assistant" or len(messages) < 2 or messages[-1].get("tool_calls"):
        body.refuse("continue_final_message", "needs a last message of the role assistant, without calls")
    return messages[:-1], served.model.tokenize(messages[-1]["content"], add_special=False)


def _length(value: object) -> int:
    """Characters in a JSON value, about."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(_length(item) + 8 for item in value.values())
    if isinstance(value, list | tuple):
        return sum(_length(item) + 8 for item in value)
    return 8


def plain_messages(body: Body, name: str = "messages") -> list[dict[str, Any]]:
    """The messages of a chat as templates take them: text parts joined, other parts refused."""
    listed = body.items(name)
    if not listed:
        body.refuse(name, "must be a list with at least one message")
    return [_message(body, f"{name}[{number}]", message) for number, message in enumerate(listed)]


def _message(body: Body, place: str, message: object) -> dict[str, Any]:
    if not isinstance(message, dict):
        body.refuse(place, f"must be an object, is {kind(message)}")
    plain = {key: value for key, value in message.items() if value is not None}
    if not isinstance(plain.get("role"), str):
        body.refuse(f"{place}.role", "is missing; it is system, developer, user, assistant or tool")
    content = plain.get("content")
    if isinstance(content, list):
        plain["content"] = "".join(_part(body, f"{place}.content[{n}]", part) for n, part in enumerate(content))
    elif content is None:
        if plain["role"] != "assistant":
            body.refuse(f"{place}.content", "is missing")
        plain["content"] = ""
    elif not isinstance(content, str):
        body.refuse(f"{place}.content", f"must be text or a list of parts, is {kind(content)}")
    check_calls(body, place, plain)
    for member in ("audio", "function_call"):
        if plain.pop(member, None):
            body.refuse(f"{place}.{member}", "is not supported")
    for member in ("refusal", "annotations"):
        plain.pop(member, None)
    return plain


def last_words(messages: Sequence[Mapping[str, Any]]) -> str:
    """The last message of a user."""
    return next((str(each["content"]) for each in reversed(messages) if each["role"] == "user"), "")


def check_calls(body: Body, place: str, message: dict[str, Any]) -> None:
    """Refuse calls of tools that are no list of objects; an empty list is none."""
    calls = message.get("tool_calls")
    if not calls:
        message.pop("tool_calls", None)
    elif not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        body.refuse(f"{place}.tool_calls", "must be a list of objects")


def _part(body: Body, place: str, part: object) -> str:
    if not isinstance(part, dict):
        body.refuse(place, f"must be an object, is {kind(part)}")
    if part.get("type") not in ("text", "input_text", "output_text"):
        body.refuse(place, f"has the type {part.get('type')!r}: this server answers text alone, and fetches nothing")
    if not isinstance(part.get("text"), str):
        body.refuse(f"{place}.text", "must be text")
    return str(part["text"])


def function_tool(name: str, description: str | None, parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    """A tool as templates take it, in OpenAI's form."""
    function: dict[str, Any] = {"name": name}
    if description is not None:
        function["description"] = description
    if parameters is not None:
        function["parameters"] = dict(parameters)
    return {"type": "function", "function": function}


def variables(body: Body, tools: list[dict[str, Any]], effort: str | None = None) -> dict[str, Any]:
    """What the chat template is given beside the messages. `effort`: where the API has it in another member."""
    names = body.inside("chat_template_kwargs")
    found = dict(names.members) if names else {}
    for name in ("messages", "add_generation_prompt"):
        if name in found:
            body.refuse(f"chat_template_kwargs.{name}", "cannot be set")
    if (effort := effort or body.text("reasoning_effort")) is not None:
        found.setdefault("reasoning_effort", effort)
        if effort == "none":
            found.setdefault("enable_thinking", False)
    return found | ({"tools": tools} if tools else {})


def ask_of(
    request: Request,
    body: Body,
    served: Served,
    prompt: Sequence[int],
    n_tokens: int,
    options: dict[str, Any],
    parser: Callable[[], AnswerParser] | None = None,
    origin: Origin | None = None,
) -> Ask:
    """The question of a request."""
    client = str(request.scope.get("flyball.client", ""))
    origin = origin or Origin.of(request)
    is_greedy = options.get("temperature") == 0
    seed = options.get("seed")
    priority = body.integer("priority", -MOST_PRIORITY, MOST_PRIORITY, 0) or 0  # which of the waiting goes first
    if (routed := request.scope.get(ROUTED)) is not None and routed.adapter is not None:
        options = options | {"adapter": routed.adapter}
    made = Ask(
        served,
        prompt,
        n_tokens,
        options,
        client,
        request.scope["path"],
        parser,
        priority=int(request.scope.get("flyball.priority", priority)),
        deadline=body.number("deadline", 0.001, 1e6),
        id=origin.id,
        idempotency_key=origin.idempotency_key,
        resumable=origin.resumable,
        told=origin.told,
        project=project_of(request),
        cacheable=is_greedy or seed is not None,  # a question with a random seed is asked once
        caching=caching_of(request.scope),
        trace={name: request.headers[name] for name in TRACE_CONTEXT if name in request.headers},
        routed=routed,
    )
    if made.routed is not None:
        made.routed.begun(made.id)
    if made.resumable:
        for place, token in enumerate(_known(body), 1):
            server_of(request).partials.note(made.id, place, token)
    if seed is None:
        is_open = is_greedy and not origin.n_sent and server_of(request).responses.serves(made)
        # That of an answer without chance changes no token: equal questions shall have one key.
        seed = 0 if is_open else request.scope.get(OPEN_SEED, origin.seed)
    return made.with_seed(seed)


def _known(body: Body) -> list[int]:
    """Tokens with which the answer is said to begin (resuming.py)."""
    known = body.items("flyball_known")
    if not all(type(token) is int and 0 <= token < 2**31 for token in known):
        body.refuse("flyball_known", "must be a list of the answer's first tokens")
    return known


async def with_adapter(request: Request, body: Body, ask: Ask) -> Ask:
    """The question with the adapter that answers it; all questions of a request have one."""
    wanted = wanted_of(body)
    chosen: Chosen | None = request.scope.get(CHOSEN)
    if chosen is None:
        chosen = request.scope[CHOSEN] = await server_of(request).adapters.choose(ask, wanted)
        tell(request.scope, "flyball-adapter", chosen.header)
    return chosen.into(ask)


async def ask_chat(
    request: Request,
    body: Body,
    served: Served,
    messages: Sequence[Mapping[str, Any]],
    names: Mapping[str, Any],
    options: dict[str, Any],
    bounds: Sequence[str],
    begun: Sequence[int] = (),
    origin: Origin | None = None,
    form: Form | None = None,
) -> Ask:
    """The question of a chat, whose answer must have a form.

    `names`: the template's variables; `bounds`: the members that bound the answer; `begun`: the beginning of the answer
    that a last message of the assistant is.
    """
    if form is not None and begun:
        body.refuse("continue_final_message", f"does not go with {form.param}: only the rest would have that form")
    server = server_of(request)
    recalled = await remembering.recall(request, body, server, served, messages, project_of(request))
    if recalled is not None:
        messages = recalled.into(messages)
        form = form if begun else remembering.form_of(recalled, form, names.get("tools"))
    if origin is not None and served.chat.uses_time:  # so that who goes on with the answer makes the same prompt
        names = {"strftime_now": now(origin.created), **names}
    prompt, time = await chat_prompt(served, messages, names)
    options = await constraining.options(options, form, served, prompt)
    prompt += begun
    n_tokens = max_tokens(body, bounds, None, served, len(prompt))
    parser = partial(served.chat.parser, prompt, names.get("tools"))
    ask = ask_of(request, body, served, prompt, n_tokens, options | {"template_time": time}, parser, origin)
    ask = await with_adapter(request, body, ask)
    return ask if recalled is None else remembering.told(request, server, ask, recalled)


def choices(ask: Ask, n: int) -> list[Ask]:
    """n questions that differ in their seeds alone: each counts one up."""
    return [ask, *(_choice(ask, number) for number in range(1, n))]


def _choice(ask: Ask, number: int) -> Ask:
    identity = hashlib.sha256(f"{ask.id}-{number}".encode()).hexdigest()[: len(ask.id)]
    seeded = ask.with_seed((ask.options["seed"] + number) % 2**64)
    return replace(seeded, id=identity, idempotency_key="", told=None)


def n_choices(body: Body) -> int:
    """How many answers are wanted."""
    return body.integer("n", 1, MOST_CHOICES, 1) or 1


def n_top_logprobs(body: Body) -> int | None:
    """Of chats: how many of the likeliest tokens to tell with each; None: no log-probabilities."""
    top = body.integer("top_logprobs", 0, _MOST_TOP)
    wanted = body.flag("logprobs")
    if top and not wanted:
        body.refuse("top_logprobs", "needs logprobs: true")
    return (top or 0) if wanted else None


def ignored(body: Body, *more: str) -> dict[str, str]:
    """The header that names what was accepted without effect. `more`: what is not among the body's own members."""
    names = [name for name in WITHOUT_EFFECT if body.members.get(name) is not None and name != "stream_options"]
    names = [name for name in names if name not in body.honored]
    names += [name for name in body.unread() if name not in WITHOUT_EFFECT]
    names += more
    text = "".join(each if " " <= each <= "~" else "?" for each in ", ".join(dict.fromkeys(names))[:1000]).strip()
    return {"flyball-ignored": text} if text else {}
