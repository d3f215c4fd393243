"""What the documentation shows is what happens."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import pytest

from flyball import configuration
from flyball.cli import make_parser
from ops import reasons_page

DOCS = Path(__file__).parents[2] / "docs"


def test_examples_of_the_documentation_run(capsys: pytest.CaptureFixture[str]) -> None:
    page = (DOCS / "python.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= 5
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    assert "tokens were not computed again" in capsys.readouterr().out
    names["model"].close()


def flags(command: str) -> list[list[str]]:
    """The names of each flag of a command, but for --help."""
    commands = next(a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction))
    actions = commands.choices[command]._actions
    return [list(a.option_strings) for a in actions if a.option_strings and "--help" not in a.option_strings]


@pytest.mark.parametrize("command", ["run", "verify", "chat", "info", "config", "replay", "bench"])
def test_every_flag_is_documented(command: str) -> None:
    words = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", (DOCS / "cli.md").read_text()))
    assert [names for names in flags(command) if not words & set(names)] == []


def test_the_page_of_reasons_is_the_registry() -> None:
    assert (DOCS / "reasons.md").read_text() == reasons_page.page(), "write it again: make reasons"


def test_contracts_name_the_flags_of_bench() -> None:
    line = re.search(r"^`flyball bench .*?`", (DOCS / "contracts.md").read_text(), re.MULTILINE | re.DOTALL)
    assert line
    assert set(re.findall(r"--[a-z-]+", line[0])) == {name for names in flags("bench") for name in names}


def test_the_configuration_shown_is_the_one_that_is() -> None:
    shown = re.findall(r"^([a-z_.]+) = .+  # (?:default|command line)$", (DOCS / "cli.md").read_text(), re.MULTILINE)
    assert shown == list(configuration.defaults())
