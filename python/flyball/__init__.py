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
from .results import Metrics, ModelInfo, Phase, Piece, Result, SessionMetrics, Speculation
from .session import Session, Stream

if TYPE_CHECKING:
    from .template import ChatTemplate


def __getattr__(name: str) -> object:
    """ChatTemplate brings jinja2 with it: imported by those who name it."""
    if name == "ChatTemplate":
        from .template import ChatTemplate

        return ChatTemplate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "AsyncStream",
    "Chat",
    "ChatTemplate",
    "ContextFull",
    "Error",
    "FileError",
    "FormatError",
    "GenerateOptions",
    "InternalError",
    "Interrupted",
    "InvalidArgument",
    "Message",
    "Metrics",
    "Model",
    "ModelInfo",
    "NonFinite",
    "NotFound",
    "OutOfMemory",
    "Phase",
    "Piece",
    "Receipt",
    "Result",
    "Session",
    "SessionBusy",
    "SessionMetrics",
    "Speculation",
    "Stream",
    "TemplateError",
    "Unsupported",
    "VerificationError",
    "__version__",
    "demo_model_path",
    "isas",
    "verify",
]
