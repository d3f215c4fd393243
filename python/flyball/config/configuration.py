"""Settings from defaults, a file, the environment and the command line. The schema is the core's (contract 4)."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import _core
from ..errors import FileError, NotFound
from ..paths import AnyPath, expanded


@dataclass(frozen=True)
class Setting:
    """One key with its value and the value's origin."""

    key: str
    kind: str
    default: Any
    least: float | None
    most: float | None
    choices: str
    meaning: str
    value: Any
    origin: str

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return _variable(self.key)

    @property
    def allowed(self) -> str:
        """The allowed range or choices, as text."""
        if self.kind == "choice":
            return self.choices.replace(" ", ", ")
        return "text" if self.least is None else f"{self.least:g} to {self.most:g}"


def defaults() -> dict[str, Setting]:
    """Every key with its default."""
    return {
        key: Setting(key, kind, default, least, most, choices, meaning, default, "default")
        for key, kind, default, least, most, choices, meaning in _core.config_schema()
    }


def resolve(
    file: AnyPath | None = None,
    words: Mapping[str, str] | None = None,
    environment: Mapping[str, str] = os.environ,
    model: str = "",
) -> dict[str, Setting]:
    """Every key with its value: from `words` (the command line), else the environment, the file, the default.

    `file` None: $FLYBALL_CONFIG, else ./flyball.toml, else flyball/flyball.toml in the user's configuration folder.
    `model`: with the file's lines `models.MODEL.KEY = VALUE` before its others.
    """
    settings = defaults()
    path = find_file(environment) if file is None else Path(expanded(file, "file"))
    if path is not None:
        content = _read(path)
        for key, (value, line, renamed) in _core.config_parse(os.fspath(path), content).items():
            _warn(f"{path}:{line}", renamed)
            settings[key] = replace(settings[key], value=value, origin=f"{path}:{line}")
        for name, key, value, line in _core.config_parse_models(os.fspath(path), content):
            if name == model:
                settings[key] = replace(settings[key], value=value, origin=f"{path}:{line}")
    for key, word in _environment_words(environment):
        _set(settings, key, word, f"environment {_variable(key)}")
    for key, word in (words or {}).items():
        _set(settings, key, word, "command line")
    return settings


def named_models(file: AnyPath | None = None, environment: Mapping[str, str] = os.environ) -> list[str]:
    """The models that the file has lines of, in its order."""
    path = find_file(environment) if file is None else Path(expanded(file, "file"))
    if path is None:
        return []
    return list(dict.fromkeys(name for name, *_ in _core.config_parse_models(os.fspath(path), _read(path))))


def _set(settings: dict[str, Setting], name: str, word: str, origin: str) -> None:
    key, value, renamed = _core.config_word(name, word)
    _warn(origin, renamed if key == name else (name, key))
    settings[key] = replace(settings[key], value=value, origin=origin)


def _environment_words(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(key, word) of each variable that sets a key; old names first, so that current ones take precedence."""
    former = [key for key, _ in _core.config_renamed_keys()]
    for key in [*former, *defaults()]:
        if (word := environment.get(_variable(key))) is not None:
            yield key, word


def _variable(key: str) -> str:
    return "FLYBALL_" + key.replace(".", "_").upper()


def _warn(origin: str, renamed: tuple[str, str] | None) -> None:
    if renamed is not None:
        before, now = renamed
        text = f"{origin}: {before} is now {now}; the old name goes with version 0.3"
        warnings.warn(text, FutureWarning, stacklevel=4)


def changed_by_policy(settings: Mapping[str, Setting]) -> dict[str, Setting]:
    """The settings with a policy's changes, which its file holds in the syntax of a configuration."""
    changed = dict(settings)
    path = Path(settings["policy_file"].value).expanduser()
    if settings["policy.auto_apply"].value != "off" and os.path.isfile(path):
        for key, (value, line, _) in _core.config_parse(os.fspath(path), _read(path)).items():
            changed[key] = replace(changed[key], value=value, origin=f"policy {path}:{line}")
    return changed


def find_file(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The configuration file to read if none is named, or None."""
    if named := environment.get("FLYBALL_CONFIG"):
        return Path(expanded(named, "FLYBALL_CONFIG"))
    home = Path(environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME", "/")) / ".config")
    places = (Path("flyball.toml"), home / "flyball" / "flyball.toml")
    return next((path for path in places if os.path.isfile(path)), None)  # Path.is_file() raises in a closed folder


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(1 << 20)
    except FileNotFoundError:
        raise NotFound(os.fspath(path), "does not exist") from None
    except OSError as error:
        raise FileError(os.fspath(path), f"cannot be read: {error.strerror or error}") from None
    if len(content) == 1 << 20:
        raise FileError(os.fspath(path), "is larger than 1 MiB, too large for a configuration")
    return content
