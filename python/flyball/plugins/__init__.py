"""Plugins: code of others, each in a process of its own behind a wall. These names are what a plugin imports.

The child imports this module without the rest of Flyball, so it needs pluggy alone.
"""

from __future__ import annotations

from .hooks import Answer, Call, Example, Fetched, Host, Proposal, Question, ToolError, Verdict, hookimpl

__all__ = [
    "Answer",
    "Call",
    "Example",
    "Fetched",
    "Host",
    "Proposal",
    "Question",
    "ToolError",
    "Verdict",
    "hookimpl",
]
