"""The line of every key and list item in a TOML file, which tomllib does not tell: errors of meaning need it."""

from __future__ import annotations

import re
import tomllib

Path = tuple[str | int, ...]

_TOKEN = re.compile(
    r"""
    (?P<string> \"{3}(?:\\.|[^\\])*?\"{3,5} | '{3}.*?'{3,5} | "(?:\\.|[^"\\\n])*" | '[^'\n]*' )
    | (?P<comment> \#[^\n]* )
    | (?P<newline> \n )
    | (?P<mark> [\[\]{},=] )
    | (?P<space> [^\S\n]+ )
    | (?P<word> [^\s\[\]{},=\#"']+ )
    """,
    re.VERBOSE | re.DOTALL,
)


class Places:
    """Lines of a text that tomllib has read, by the path of keys and numbers: ("intents", "math", "models", 0)."""

    def __init__(self, text: str) -> None:
        self._lines: dict[Path, int] = {}
        self._read(text)

    def line(self, *path: str | int) -> int:
        """The line where it is; what has none of its own is where that is which contains it."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)

    def _read(self, text: str) -> None:
        table: Path = ()
        key: Path | None = None  # of the value that is being read
        statement, line, depth, n_items = "", 1, 0, 0
        in_list = is_new = False
        for token in _TOKEN.finditer(text + "\n"):
            kind, piece = token.lastgroup, token.group()
            if kind == "newline" and not depth:
                if key is None and statement.strip():
                    table = self._put((), statement, line)
                statement, key = "", None
            elif key is None and piece == "=":
                key = self._put(table, statement + "= 0", line)
                n_items, in_list = 0, False
            elif key is None:
                statement += "" if kind == "comment" else piece
            elif kind in ("string", "word", "mark"):
                if in_list and is_new and depth == 1 and piece != "]":
                    self._lines[(*key, n_items)] = line
                    is_new = False
                if piece in ("[", "{"):
                    in_list, is_new = (piece == "[", True) if not depth else (in_list, is_new)
                    depth += 1
                elif piece in ("]", "}"):
                    depth -= 1
                elif piece == "," and depth == 1:
                    n_items, is_new = n_items + 1, True
            line += piece.count("\n")

    def _put(self, table: Path, statement: str, line: int) -> Path:
        """The path that a header or the left side of an assignment names."""
        found: object = tomllib.loads(statement)
        path = table
        while isinstance(found, dict | list) and found:
            if isinstance(found, list):
                found = found[0]
                continue
            ((name, found),) = found.items()
            path = (*path, name)
            self._lines.setdefault(path, line)
        return path
