"""The tables [guardians.NAME] of a registry: what looks at the answers of intents that name them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from .. import files
from ..errors import Error, FormatError
from ..learn.guardians import QUESTION, Guardian, Schema
from .fields import Table

MOST = 64
_MOST_SCHEMA = 1 << 20
_MOST_CHARACTERS = 10_000_000
_RULES = ("must", "must_not", "most_characters")


def guardian(name: str, table: Table, folder: Path, read: Callable[[Path, bytes], None]) -> Guardian:
    """A guardian of its table; raises FormatError with the line of what is wrong. `read`: told of a file that was."""
    kinds = [kind for kind in ("schema", "judge") if table.get(kind) is not None]
    kinds += ["rule"] if any(table.get(key) is not None for key in _RULES) else []
    if len(kinds) != 1:
        what = "needs one of schema (a file), judge (a model), or a rule: must, must_not, most_characters"
        table.refuse("", f"has {' and '.join(kinds) or 'nothing to judge by'}; it {what}")
    made = {"schema": _schema, "rule": _rule, "judge": _judge}[kinds[0]](name, table, folder, read)
    table.refuse_unread()
    return made


def _schema(name: str, table: Table, folder: Path, read: Callable[[Path, bytes], None]) -> Guardian:
    path = folder / table.text("schema")
    try:
        raw = files.read(path, _MOST_SCHEMA)
        schema = Schema.of(json.loads(raw))
    except Error as error:
        table.refuse("schema", str(error))
    except (ValueError, RecursionError) as error:
        table.refuse("schema", f"{path} is not JSON: {error}")
    read(path, raw)
    return Guardian(name, schema=schema)


def _rule(name: str, table: Table, folder: Path, read: Callable[[Path, bytes], None]) -> Guardian:
    most = table.number("most_characters", 1, _MOST_CHARACTERS, 0)
    patterns = {key: table.text(key, "") for key in _RULES[:2]}
    for key, pattern in patterns.items():
        try:
            Schema.of_text(**{key: pattern})  # type: ignore[arg-type]
        except FormatError:
            table.refuse(key, f"is {pattern[:80]!r}, must be a regular expression without looking around or back")
    return Guardian(name, rule=Schema.of_text(**patterns, most_characters=int(most) or None))


def _judge(name: str, table: Table, folder: Path, read: Callable[[Path, bytes], None]) -> Guardian:
    return Guardian(name, judge=table.text("judge"), question=table.text("question", QUESTION))
