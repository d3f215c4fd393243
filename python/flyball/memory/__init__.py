"""What is remembered of users: facts, documents, and corrections that are shown to the model at once."""

from __future__ import annotations

from .chunks import Chunk
from .examples import Example, Examples, FileExamples, StoredExamples
from .facts import Fact, facts_in
from .memory import LOCAL, Embedder, Found, Memory, ModelEmbedder
from .prompts import Recalled

__all__ = [
    "LOCAL",
    "Chunk",
    "Embedder",
    "Example",
    "Examples",
    "Fact",
    "FileExamples",
    "Found",
    "Memory",
    "ModelEmbedder",
    "Recalled",
    "StoredExamples",
    "facts_in",
]
