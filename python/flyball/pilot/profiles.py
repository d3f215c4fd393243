"""Which model variant each agent asks, and the warm-up that reads the beginnings of their files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ..errors import FileError, InvalidArgument
from .agents import NAMES

DEFAULT = "default"  # the variant that the command names, or the bundled model
PROFILES: dict[str, dict[str, str]] = {
    DEFAULT: {},
    "latency": {"event": "q4_k_mistral", "world": "phi3_adapter_v1", "judge": "qwen_guard_v2"},
}
PREFETCH_BYTES = 65536
MOST_PREFETCH_BYTES = 1 << 40
_VARIANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,119}")
_PIECE = 1 << 20


def variants_of(profile: str, overrides: str) -> dict[str, str]:
    """The variant of each agent: the profile's, but for those in `event=NAME,judge=NAME`."""
    if profile not in PROFILES:
        raise InvalidArgument("profile", f"is {profile[:40]!r}, must be one of: {', '.join(PROFILES)}")
    given: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in overrides.split(","))):
        agent, equals, variant = (word.strip() for word in part.partition("="))
        if not equals or agent not in NAMES:
            must = f"must be AGENT=VARIANT with one of: {', '.join(NAMES)}"
            raise InvalidArgument("variants", f"has {part[:60]!r}, {must}")
        if agent in given:
            raise InvalidArgument("variants", f"has {agent} twice")
        if not _VARIANT.fullmatch(variant):
            raise InvalidArgument("variants", f"has {variant[:60]!r} for {agent}, which is no name of a model")
        given[agent] = variant
    return dict.fromkeys(NAMES, DEFAULT) | PROFILES[profile] | given


def prefetch_bytes(flag: int | None, skip: bool, environment: Mapping[str, str]) -> int:
    """How many bytes of each file the warm-up reads; 0: it is switched off. The flags come before the environment."""
    said = environment.get("FLYBALL_SKIP_MODEL_PREFETCH", "")
    if said not in ("", "0", "1"):
        raise InvalidArgument("FLYBALL_SKIP_MODEL_PREFETCH", f"is {said[:40]!r}, must be 0 or 1")
    if skip or (said == "1" and flag is None):
        return 0
    if flag is not None:
        where, text = "--prefetch-bytes", str(flag)
    else:
        where, text = "FLYBALL_MODEL_PREFETCH_BYTES", environment.get("FLYBALL_MODEL_PREFETCH_BYTES", "")
    if not text:
        return PREFETCH_BYTES
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= MOST_PREFETCH_BYTES):
        raise InvalidArgument(where, f"is {text[:40]!r}, must be a number of bytes up to {MOST_PREFETCH_BYTES}")
    return int(text)


def prefetch(path: str | Path, n_bytes: int) -> int:
    """Read the beginning of a file into the page cache; gives the bytes that were read."""
    done = 0
    try:
        with Path(path).open("rb", buffering=0) as file:
            while done < n_bytes and (piece := file.read(min(_PIECE, n_bytes - done))):
                done += len(piece)
    except OSError as error:
        raise FileError(str(path), f"cannot be read: {error.strerror or error}") from None
    return done
