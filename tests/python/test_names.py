"""Names are where users import them from, and naming none of the late ones costs nothing."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import flyball
import flyball.journal

LATE = (
    "asyncio",
    "jinja2",
    "logging",
    "numpy",
    "prompt_toolkit",
    "scipy",
    "flyball.journal",
    "flyball.governor",
    "flyball.templates",
)


def test_every_public_name_is_there() -> None:
    for module in (flyball, flyball.journal):
        for name in module.__all__:
            assert getattr(module, name) is not None, name


def test_importing_the_package_imports_nothing_that_few_need() -> None:
    code = f"import flyball, sys; print([name for name in {LATE} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("command", [["run", "-n", "2", "--no-receipt"], ["chat", "-n", "2"]])
def test_only_a_chat_in_a_terminal_imports_the_editor(command: list[str]) -> None:
    code = f"import sys; from flyball.cli import main; main({command}); sys.exit('prompt_toolkit' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], input=b"Hello\n", capture_output=True, check=True)


@pytest.mark.parametrize(("former", "name"), [("policy", "Policy"), ("replay", "replay")])
def test_former_places_are_read_with_a_warning(former: str, name: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"flyball.{former} is "):
        module = importlib.import_module(f"flyball.{former}")
    assert getattr(module, name)
