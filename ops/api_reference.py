"""Write the API reference of the Python package from its docstrings, as HTML.

python -m ops.api_reference build/api
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pdoc

import flyball


def markdown(docstring: str) -> str:
    """Turn columns of names and meanings into a list."""
    listed = re.sub(r"^(\w+) {2,}(?=\S)", r"- `\1`: ", docstring, flags=re.MULTILINE)
    return re.sub(r"^ {5,}(?=\S)", "  ", listed, flags=re.MULTILINE)


def prepare() -> None:
    """Show pdoc what it cannot find itself: names imported on first use, and options as keyword arguments."""
    convert = pdoc.docstrings.convert
    pdoc.docstrings.convert = cache(lambda text, *rest: convert(markdown(text), *rest))
    vars(sys.modules[flyball.Model.__module__])["Sequence"] = Sequence  # for the alias Prompt
    for name in flyball.__all__:
        value = vars(flyball)[name] = getattr(flyball, name)
        for method in vars(value).values() if inspect.isclass(value) else ():
            if "options" in getattr(method, "__annotations__", {}):
                method.__annotations__["options"] = flyball.GenerateOptions


if __name__ == "__main__":
    prepare()
    pdoc.render.configure(docformat="markdown", show_source=False, footer_text=f"Flyball {flyball.__version__}")
    pdoc.pdoc("flyball", output_directory=Path(sys.argv[1]))
