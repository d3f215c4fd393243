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

# Modules that make one part: what a model, its sessions and its answers are; what happened, kept, decided again, told.
PYTHON_PARTS = (
    dict.fromkeys(("model", "session", "batching", "chat", "options", "results", "receipt", "policy"), "model")
    | dict.fromkeys(("journal", "replay", "explain"), "journal")
    | {"__main__": "cli"}
)
PYTHON_ROWS = (
    ("_core",),
    ("errors",),
    ("files",),
    ("configuration", "sandbox"),
    ("template",),
    ("model",),
    ("events",),
    ("journal",),
    ("metrics",),
    ("stats", "drift"),
    ("gates",),
    ("bench", "image"),
    ("reliability", "route", "learn", "serve"),
    ("__init__",),
    ("cli",),
)


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


def python_may_use(source: str, target: str) -> bool:
    if source == target:
        return True
    above, below = row_of(PYTHON_ROWS, source), row_of(PYTHON_ROWS, target)
    return above is not None and below is not None and below < above


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
    """Every import of one of flyball's own modules, wherever in a file it stands."""
    package = root / "python" / "flyball"
    parts = {path.stem for path in package.iterdir()} if package.is_dir() else set()
    for path in sorted(package.rglob("*.py")):
        inside = path.relative_to(package).with_suffix("").parts
        source = inside[0]
        if source == "__init__":  # the package's face gathers all and is imported by none
            continue
        folder = inside[:-1]
        for node in _import_statements(path):
            for target in _imported(node, folder, parts):
                yield Edge(path.relative_to(root), node.lineno, part_of(source), part_of(target), ast.unparse(node))


def part_of(module: str) -> str:
    return PYTHON_PARTS.get(module, module)


def _import_statements(path: Path) -> Iterator[ast.Import | ast.ImportFrom]:
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node


def _imported(node: ast.Import | ast.ImportFrom, folder: tuple[str, ...], parts: set[str]) -> Iterator[str]:
    """The flyball modules, by their first name under the package, that an import statement names."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            names = alias.name.split(".")
            if names[0] == "flyball":
                yield names[1] if len(names) > 1 else "__init__"
    else:
        module = tuple(node.module.split(".")) if node.module else ()
        if node.level:
            base = folder[: len(folder) - (node.level - 1)]
            full = base + module
        elif module and module[0] == "flyball":
            full = module[1:]
        else:
            return
        if full:
            yield full[0]
        else:
            for alias in node.names:
                yield alias.name if alias.name in parts or alias.name == "_core" else "__init__"
