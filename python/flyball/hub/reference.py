"""How people name a model of the hub: hf.co/ORG/REPO:QUANT, with or without the host."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from ..errors import InvalidArgument

_HOST = re.compile(r"(?:https://)?(?:www\.)?(?:hf\.co|huggingface\.co)/")
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_CHOICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,200}")


@dataclass(frozen=True)
class Reference:
    """A repository, and which of its models; `choice`: a quantization or a file's name, empty where none was named."""

    repo: str
    choice: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of a word. Raises InvalidArgument."""
        repo, colon, choice = _HOST.sub("", text.strip(), count=1).rstrip("/").partition(":")
        parts = repo.split("/")
        if len(parts) != 2 or not all(map(_PART.fullmatch, parts)) or (colon and not _CHOICE.fullmatch(choice)):
            raise InvalidArgument("model", f"is {text!r}, must be [hf.co/]ORG/REPO[:QUANT]")
        return cls(repo, choice)

    def __str__(self) -> str:
        return f"hf.co/{self.repo}"
