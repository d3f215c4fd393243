"""Flyball: a local LLM runtime whose answers can be checked.

```python
import flyball
model = flyball.Model.load(flyball.demo_model_path())
result = model.generate("Once upon a time", max_tokens=64)
print(result.text, result.metrics.decode.cycles_per_token, result.digest)
flyball.verify(result.receipt, model=model)
```
"""

from typing import TYPE_CHECKING

from ._core import version as __version__
from .answers.parts import Answer, Delta, ToolCall
from .constraints.constraint import Constraint
from .engine.adapter import Adapter
from .engine.asynchronous import AsyncStream
from .engine.chat import Chat
from .engine.messages import Message
from .engine.model import Model, demo_model_path, isas
from .engine.options import GenerateOptions
from .engine.receipt import Receipt
from .engine.results import (
    Decision,
    GovernorState,
    LastDecision,
    Metrics,
    ModelInfo,
    Phase,
    Piece,
    Result,
    Score,
    SessionMetrics,
    Speculation,
    TopLogprob,
    Tuned,
)
from .engine.session import Session, Stream
from .engine.verify import verify
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
    Unavailable,
    UnknownArgument,
    Unsupported,
    VerificationError,
)

if TYPE_CHECKING:
    from .answers.parser import AnswerParser
    from .engine.chat_format import ChatFormat
    from .governor.policy import Policy, PolicyState
    from .journal.events import Event, Reason
    from .journal.journal import Journal
    from .learn.giving import feedback
    from .templates.template import ChatTemplate

_LATE = {
    "AnswerParser": "answers.parser",
    "ChatFormat": "engine.chat_format",
    "ChatTemplate": "templates.template",
    "Event": "journal.events",
    "Journal": "journal.journal",
    "Policy": "governor.policy",
    "PolicyState": "governor.policy",
    "Reason": "journal.events",
    "feedback": "learn.giving",
}


def __getattr__(name: str) -> object:
    """Import on first use what most programs do not need, and its dependencies with it (jinja2 for ChatTemplate)."""
    if name in _LATE:
        import importlib

        return getattr(importlib.import_module(f".{_LATE[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Adapter",
    "Answer",
    "AnswerParser",
    "AsyncStream",
    "Chat",
    "ChatFormat",
    "ChatTemplate",
    "Constraint",
    "ContextFull",
    "Decision",
    "Delta",
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
    "LastDecision",
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
    "Score",
    "Session",
    "SessionBusy",
    "SessionMetrics",
    "Speculation",
    "Stream",
    "TemplateError",
    "ToolCall",
    "TopLogprob",
    "Tuned",
    "Unavailable",
    "UnknownArgument",
    "Unsupported",
    "VerificationError",
    "__version__",
    "demo_model_path",
    "feedback",
    "isas",
    "verify",
]
