"""What the documentation shows is what happens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest


def test_examples_of_the_documentation_run(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= 5
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    assert "tokens were not computed again" in capsys.readouterr().out
    names["model"].close()
