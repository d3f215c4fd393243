"""The layers, and what the sources really include and import. One truth for the check and for the picture."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Lowest first. Folders of one row may not know each other; a folder may use every row below its own.
CPP_ROWS = (
    ("base",),
    ("gguf", "journal"),
    ("tokenizer", "kernels"),
    ("chat", "model"),
    ("runtime",),
    ("governor",),
    ("settings", "engine"),
    ("receipt", "policy", "catalog"),
    ("repl",),
    ("bind", "cli", "uefi"),
)
# Implements base's Platform for an operating system: knows base alone, and the programs above use it.
CPP_PLATFORMS = ("host",)
CPP_PROGRAMS = ("bind", "cli", "uefi")
CPP_CORE = tuple(part for row in CPP_ROWS for part in row if part not in CPP_PROGRAMS)

CPP_MEANING = {  # for the picture
    "base": "types, results, arena, text, hashes, exact elementary functions, Platform",
    "host": "Platform for Linux",
    "gguf": "file → checked tensors",
    "tokenizer": "text ↔ ids",
    "kernels": "one table per instruction set",
    "model": "one forward pass",
    "runtime": "cache, sampler, metrics, digest",
    "journal": "reasons and lines",
    "chat": "chat formats",
    "governor": "reports in; plan and events out",
    "settings": "configuration keys",
    "engine": "load, prefill, decode, sample",
    "receipt": "proof of an answer",
    "policy": "later answers",
    "catalog": "models and tuning",
    "repl": "commands and prompts",
    "bind": "the extension _core",
    "cli": "flyball-repl",
    "uefi": "Platform, program",
}

# Packages and modules of flyball, by the name under it. A package of PYTHON_ORDERED keeps an order inside as well.
PYTHON_ROWS = (
    ("_cached", "_counts", "errors", "folding"),
    ("_core", "paths", "pickling"),
    ("answers", "templates", "files", "config", "constraints"),
    ("engine", "journal"),
    ("governor", "evidence", "store", "audit", "hub", "plugins"),
    ("image", "bench", "response_cache"),
    ("reliability", "scorecard"),
    ("learn", "memory", "slo"),
    ("__init__", "policy", "replay"),  # the package's face
    ("route", "train"),
    ("load", "serve"),
    ("pilot", "scale"),
    ("round",),
    ("cli",),
    ("__main__",),
)
PYTHON_ORDERED = {
    "engine": (
        ("adapter", "call_grammar", "messages", "model_file", "packed_copies", "receipt"),
        ("options",),
        ("results",),
        ("asynchronous", "batching"),
        ("handle",),
        ("session",),
        ("chat_format", "many"),
        ("chat",),
        ("model",),
        ("verify",),
    ),
}


@dataclass(frozen=True)
class Edge:
    """`source` (a file) at `line` uses `target`; both lie in named parts (folders or modules)."""

    file: Path
    line: int
    source: str
    target: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.source} uses {self.target} ({self.text})"


def row_of(rows: tuple[tuple[str, ...], ...], part: str) -> int | None:
    return next((i for i, row in enumerate(rows) if part in row), None)


def cpp_may_use(source: str, target: str) -> bool:
    if source == target:
        return True
    if target in CPP_PLATFORMS:
        return source in CPP_PROGRAMS
    if source in CPP_PLATFORMS:
        return target == "base"
    above, below = row_of(CPP_ROWS, source), row_of(CPP_ROWS, target)
    return above is not None and below is not None and below < above


def python_place(module: str) -> tuple[int, int] | None:
    """Row of a module's package and, where the package has an order, row inside it; None: it has no row."""
    part, _, inside = module.partition(".")
    row = row_of(PYTHON_ROWS, part)
    if row is None or part not in PYTHON_ORDERED:
        return None if row is None else (row, 0)
    if inside in ("", "__init__"):
        return row, len(PYTHON_ORDERED[part])
    within = row_of(PYTHON_ORDERED[part], inside)
    return None if within is None else (row, within)


def python_may_use(source: str, target: str) -> bool:
    if source == target:
        return True
    above, below = python_place(source), python_place(target)
    if above is None or below is None:
        return False
    if source.split(".")[0] == target.split(".")[0]:
        return source.split(".")[0] not in PYTHON_ORDERED or below[1] < above[1]
    return below[0] < above[0]


def cpp_files(root: Path = ROOT) -> list[Path]:
    return sorted(path for path in (root / "cpp").rglob("*") if path.suffix in {".h", ".cpp", ".inl"})


def cpp_includes(root: Path = ROOT) -> Iterator[Edge]:
    """Every include of one of the project's own files."""
    for path in cpp_files(root):
        folder = path.relative_to(root / "cpp").parts[0]
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if found := re.match(r'\s*#\s*include\s*"([^"]+)"', line):
                target = found[1].split("/")[0] if "/" in found[1] else folder
                yield Edge(path.relative_to(root), number, folder, target, found[1])


def cpp_system_includes(root: Path = ROOT) -> Iterator[Edge]:
    for path in cpp_files(root):
        folder = path.relative_to(root / "cpp").parts[0]
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if found := re.match(r"\s*#\s*include\s*<([^>]+)>", line):
                yield Edge(path.relative_to(root), number, folder, found[1], f"<{found[1]}>")


def python_imports(root: Path = ROOT) -> Iterator[Edge]:
    """Every import of one of flyball's own modules, wherever in a file it stands, for types alone or not."""
    package = root / "python" / "flyball"
    files = sorted(path for path in package.rglob("*.py*") if path.suffix in (".py", ".pyi"))
    modules = {path.relative_to(package).with_suffix("").parts for path in files}
    known = {inside[:n] for inside in modules for n in range(1, len(inside) + 1)} | {("_core",)}
    for path in files:
        inside = path.relative_to(package).with_suffix("").parts
        if inside == ("__init__",):  # the package's face gathers all
            continue
        statements = ast.walk(ast.parse(path.read_text(), str(path)))
        for node in (node for node in statements if isinstance(node, ast.Import | ast.ImportFrom)):
            for target in _imported(node, inside[:-1], known):
                yield Edge(path.relative_to(root), node.lineno, _name(inside), _name(target), ast.unparse(node))


def python_meaning(part: str) -> str:
    """What a package or module says of itself first: up to a colon or the end of the sentence."""
    path = ROOT / "python" / "flyball" / part
    text = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
    said = re.split(r"[:.](?:\s|$)", ast.get_docstring(ast.parse(text)) or "")[0]
    return said[:1].lower() + said[1:]


def _name(inside: tuple[str, ...]) -> str:
    """As rows have it: the package or module, and what is in a package."""
    return ".".join(inside[:2]) or "__init__"


def _imported(
    node: ast.Import | ast.ImportFrom, folder: tuple[str, ...], known: set[tuple[str, ...]]
) -> Iterator[tuple[str, ...]]:
    """The flyball modules that an import statement names, by their path under the package."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            names = tuple(alias.name.split("."))
            if names[0] == "flyball":
                yield names[1:]
    else:
        named = tuple(node.module.split(".")) if node.module else ()
        if node.level:
            base = folder[: len(folder) - (node.level - 1)] + named
        elif named[0] == "flyball":
            base = named[1:]
        else:
            return
        for alias in node.names:
            below = (*base, alias.name)
            yield below if below in known else base
