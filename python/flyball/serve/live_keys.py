"""Which keys of the configuration a running server takes on, from when on, and why it does not take on the others.

Every key of the schema is declared here, alone or with all that begin alike: a key that is not is refused, and a test
finds it.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from ..config.configuration import Setting

Applies = Literal["live", "next request", "restart", "unused"]


class Rule(NamedTuple):
    """From when on a key's new value holds, and why not at once."""

    applies: Applies
    why: str = ""

    @property
    def is_changeable(self) -> bool:
        """Whether a running server takes a new value."""
        return self.applies in ("live", "next request")


LIVE = Rule("live")
_ANSWERS = Rule("next request", "an answer keeps what it began with")
_MODEL = Rule("restart", "models are loaded with it")
_JOURNAL = Rule("restart", "the journal is opened with it")
_SOCKET = Rule("restart", "the server listens there from its start")
_NAMES = Rule("restart", "models get their names when the server starts")
_TRUST = Rule("restart", "it decides who may ask: whoever has a token of an owner must not widen that")

_RULES: dict[str, Rule] = {  # by key; or by what keys begin with, which ends with a dot
    "model": _NAMES,
    **dict.fromkeys(("isa", "threads", "decode_threads", "tune", "objective", "context", "cache_type"), _MODEL),
    **dict.fromkeys(("prefix_cache_mb", "packed_copy", "packed_copies_gb"), _MODEL),
    **dict.fromkeys(("journal", "journal_max_kb", "journal_files", "log"), _JOURNAL),
    **dict.fromkeys(("batch", "speculate", "draft", "adapter"), Rule("unused", "requests and adapters say it here")),
    **dict.fromkeys(("policy_file", "policy."), Rule("unused", "policies change settings of the command line")),
    "edge.": Rule("unused", "it is the edge's; a server behind it does not read it"),
    **dict.fromkeys(("max_tokens", "sampling.", "serve.memory", "memory.", "autotune.", "guard."), _ANSWERS),
    **dict.fromkeys(("serve.parallel", "serve.waiting", "serve.waiting_tokens", "serve.cache_mb"), LIVE),
    **dict.fromkeys(("serve.body_kb", "serve.drain_seconds", "serve.stall_seconds", "serve.receipt_hours"), LIVE),
    **dict.fromkeys(("serve.response_cache_hours", "serve.response_cache_mb", "serve.response_cache_verify"), LIVE),
    **dict.fromkeys(("serve.adapters", "serve.canary", "serve.routes", "serve.keep_alive", "serve.memory_mb"), LIVE),
    **dict.fromkeys(("serve.allowed_hosts", "serve.allowed_origins"), LIVE),
    **dict.fromkeys(("serve.host", "serve.port"), _SOCKET),
    **dict.fromkeys(("serve.models", "serve.aliases"), _NAMES),
    **dict.fromkeys(("serve.jwt_keys", "serve.jwt_issuer", "serve.jwt_audience"), _TRUST),
    "serve.store": Rule("restart", "the settings themselves are in it"),
    "serve.keep_text": Rule("restart", "the store is opened with it"),
    "serve.name": Rule("restart", "it is in what the server has signed"),
    "serve.response_cache": Rule("restart", "the place of answers is opened when the server starts"),
}
_UNDECLARED = Rule("restart", "nobody has said yet how it would change in a running server")

_SECRETS = re.compile(r"(?<=://)([^/@:]*):[^/@]*@|([?&](?:password|sslpassword)=)[^&]*")


def declared(key: str) -> Rule | None:
    """The rule of a key; None: there is none."""
    return _RULES.get(key) or _RULES.get(key.partition(".")[0] + ".")


def rule_of(key: str) -> Rule:
    """The rule of a key; a new one is not changed in a running server."""
    return declared(key) or _UNDECLARED


def shown(value: object) -> object:
    """A value as it may be read by others: URLs without their passwords."""
    if not isinstance(value, str):
        return value
    return _SECRETS.sub(lambda found: f"{found[2]}***" if found[2] else f"{found[1]}:***@", value)


def described(setting: Setting) -> dict[str, object]:
    """A setting for people and programs, with what a change of it needs."""
    fields = ("kind", "least", "most", "choices", "meaning")
    rule = rule_of(setting.key)
    about = {name: getattr(setting, name) for name in fields}
    told = {"value": shown(setting.value), "origin": setting.origin, "default": setting.default}
    return {**told, **about, "applies": rule.applies, "why": rule.why}
