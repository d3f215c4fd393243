"""Flyball: a local LLM runtime whose answers can be checked.

import flyball
model = flyball.Model.load(flyball.demo_model_path())
result = model.generate("Once upon a time", max_tokens=64)
print(result.text, result.metrics.decode.cycles_per_token, result.digest)
flyball.verify(result.receipt, model=model)
"""

from typing import TYPE_CHECKING

from ._core import version as __version__
from .batching import AsyncStream
from .chat import Chat, Message
from .errors import (
    ContextFull,
    Error,
    FileError,
    FormatError,
    InternalError,
    Interrupted,
    InvalidArgument,
    NonFinite,
    NotFound,
    OutOfMemory,
    SessionBusy,
    TemplateError,
    Unsupported,
    VerificationError,
)
from .model import Model, demo_model_path, isas
from .options import GenerateOptions
from .receipt import Receipt, verify
from .results import (
    Decision,
    GovernorState,
    Metrics,
    ModelInfo,
    Phase,
    Piece,
    Result,
    SessionMetrics,
    Speculation,
    Tuned,
)
from .session import Session, Stream

if TYPE_CHECKING:
    from .events import Event, Reason
    from .journal import Journal
    from .policy import Policy, PolicyState
    from .template import ChatTemplate

_LATE = {
    "ChatTemplate": "template",
    "Event": "events",
    "Journal": "journal",
    "Policy": "policy",
    "PolicyState": "policy",
    "Reason": "events",
}


def __getattr__(name: str) -> object:
    """What most programs do without is imported by those who name it: jinja2 comes with ChatTemplate."""
    if name in _LATE:
        import importlib

        return getattr(importlib.import_module(f".{_LATE[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "AsyncStream",
    "Chat",
    "ChatTemplate",
    "ContextFull",
    "Decision",
    "Error",
    "Event",
    "FileError",
    "FormatError",
    "GenerateOptions",
    "GovernorState",
    "InternalError",
    "Interrupted",
    "InvalidArgument",
    "Journal",
    "Message",
    "Metrics",
    "Model",
    "ModelInfo",
    "NonFinite",
    "NotFound",
    "OutOfMemory",
    "Phase",
    "Piece",
    "Policy",
    "PolicyState",
    "Reason",
    "Receipt",
    "Result",
    "Session",
    "SessionBusy",
    "SessionMetrics",
    "Speculation",
    "Stream",
    "TemplateError",
    "Tuned",
    "Unsupported",
    "VerificationError",
    "__version__",
    "demo_model_path",
    "isas",
    "verify",
]
