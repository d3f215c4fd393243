"""Old names of commands and flags (version 0.1): accepted with a warning until version 0.3."""

from __future__ import annotations

from .common import say_error

_FLAGS = {"--kv": "--cache-type", "--allow-learning": "--allow-insufficient-data"}
_BENCH_ACTIONS = ("speed", "pack", "run", "compare", "list", "scenario", "-h", "--help")


def current_words(words: list[str]) -> list[str]:
    """The command line with old names replaced by current ones."""
    words = [_flag(word) for word in words]
    if words[:2] == ["image", "flow"]:
        _warn("flyball image flow", "flyball image test")
        words[1] = "test"
    if words[:1] == ["bench"] and (words[1:] or [""])[0] not in _BENCH_ACTIONS:
        _warn("flyball bench [MODEL]", "flyball bench speed [MODEL]")
        words.insert(1, "speed")
    if words[:2] == ["bench", "speed"] and "--profile" in words:
        _warn("--profile", "--breakdown")
        words[words.index("--profile")] = "--breakdown"
    return words


def _flag(word: str) -> str:
    name, equals, value = word.partition("=")
    if name not in _FLAGS:
        return word
    _warn(name, _FLAGS[name])
    return _FLAGS[name] + equals + value


def _warn(before: str, now: str) -> None:
    say_error(f"warning: {before} is now {now}; the old name goes with version 0.3")
