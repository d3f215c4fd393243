"""What the project's own files must say alike."""

from __future__ import annotations

import inspect
import json
import tomllib
from pathlib import Path

import pytest

import flyball

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
GROUPS = PROJECT["dependency-groups"]


def test_build_group_is_what_an_isolated_build_requires() -> None:
    tools = PROJECT["tool"]["scikit-build"]
    native = [f"{name}{tools[name]['version']}" for name in ("cmake", "ninja")]
    assert GROUPS["build"] == [*PROJECT["build-system"]["requires"], *native]


@pytest.mark.parametrize("name", ["otel", "reliability", "serve"])
def test_groups_are_the_extras(name: str) -> None:
    assert GROUPS[name] == PROJECT["project"]["optional-dependencies"][name]


@pytest.mark.parametrize("name", ["serve", "postgres", "redis", "otel"])
def test_groups_of_the_server_are_its_extras(name: str) -> None:
    assert GROUPS[name] == PROJECT["project"]["optional-dependencies"][name]


def test_every_preset_can_be_built() -> None:
    presets = json.loads((ROOT / "CMakePresets.json").read_text())
    configured = [preset["name"] for preset in presets["configurePresets"] if not preset.get("hidden")]
    assert configured == [preset["name"] for preset in presets["buildPresets"]]


def test_public_names_have_docstrings() -> None:
    """Functions, classes, and each method and property that a class defines itself."""
    names = {name: getattr(flyball, name) for name in flyball.__all__ if name != "__version__"}
    members = {
        f"{name}.{key}": member
        for name, cls in names.items()
        if inspect.isclass(cls)
        for key, member in vars(cls).items()
        if not key.startswith("_") and (inspect.isroutine(member) or isinstance(member, property))
    }
    assert [name for name, value in (names | members).items() if not documented(name, value)] == []


def documented(name: str, value: object) -> bool:
    """A dataclass without a docstring has one that repeats its signature."""
    text = inspect.getdoc(value) or ""
    return bool(text) and not text.startswith(f"{name}(")
