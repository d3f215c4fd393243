"""Check the house: which way includes and imports go, what the core may use, which symbols its objects have.

    python -m tests.layering.check_layering [--build DIRECTORY]

Exit code 0: all rules hold; 1: some do not, each with file and line; 2: could not look.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.layering import layers
from tests.layering.layers import ROOT

CORE_SYSTEM_HEADERS = {"stddef.h", "stdint.h"}
KERNEL_SYSTEM_HEADERS = CORE_SYSTEM_HEADERS | {"immintrin.h", "smmintrin.h", "emmintrin.h"}
LIBRARY_FUNCTIONS = {"memcpy", "memmove", "memset", "memcmp"}
LINKER_SYMBOLS = {"_GLOBAL_OFFSET_TABLE_"}
INSTRUCTION_SETS = ("sse41", "avx2", "avx_vnni", "avx512", "amx")

# What the freestanding core does without, as it looks in code (comments and strings removed).
FORBIDDEN = {
    r"\bstd::": "the standard library",
    r"\bthread_local\b": "thread-local storage",
    r"\b(throw|try|catch|dynamic_cast|typeid)\b": "exceptions and run-time types",
    r"\bnew\b(?!\s*\()|\bdelete\b(?!\s*;)": "new and delete",
    r"\blong\b": "long, which differs between targets",
    r"\bvirtual\b": "virtual functions",
}
ISA_CODE = re.compile(r"\b_mm(256|512)?_|\b__AVX|\b__m(128|256|512)")


class CannotLook(Exception):
    """The evidence itself is missing: neither good nor bad."""


def includes(root: Path = ROOT) -> Iterator[str]:
    for edge in layers.cpp_includes(root):
        if edge.target not in layers.CPP_PLATFORMS and layers.row_of(layers.CPP_ROWS, edge.target) is None:
            yield f"{edge}: no such layer"
        elif not layers.cpp_may_use(edge.source, edge.target):
            yield f"{edge}: against the layering"
        elif not (root / "cpp" / edge.text).exists():
            yield f"{edge}: includes are written relative to cpp/"


def system_includes(root: Path = ROOT) -> Iterator[str]:
    for edge in layers.cpp_system_includes(root):
        allowed = KERNEL_SYSTEM_HEADERS if edge.source == "kernels" else CORE_SYSTEM_HEADERS
        if edge.source in layers.CPP_CORE and edge.target not in allowed:
            yield f"{edge}: the core includes {', '.join(sorted(allowed))} and no other library header"


def code_of(text: str) -> str:
    """The source without comments, strings and character constants; lines keep their numbers."""
    token = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.DOTALL)
    digits = re.compile(r"(?<=[0-9a-fA-F])'(?=[0-9a-fA-F])")
    return token.sub(lambda found: "\n" * found[0].count("\n"), digits.sub("", text))


def core_code(root: Path = ROOT) -> Iterator[str]:
    for path in layers.cpp_files(root):
        folder = path.relative_to(root / "cpp").parts[0]
        if folder not in layers.CPP_CORE:
            continue
        for number, line in enumerate(code_of(path.read_text()).splitlines(), 1):
            place = f"{path.relative_to(root)}:{number}"
            if line.lstrip().startswith("#include"):
                continue
            for pattern, meaning in FORBIDDEN.items():
                if re.search(pattern, line) and "= delete" not in line and "operator " not in line:
                    yield f"{place}: the core does without {meaning}: {line.strip()}"
            if folder != "kernels" and ISA_CODE.search(line):
                yield f"{place}: instruction-set code belongs into kernels/: {line.strip()}"


def imports(root: Path = ROOT) -> Iterator[str]:
    for edge in layers.python_imports(root):
        for part in (edge.source, edge.target):
            if layers.python_place(part) is None:
                yield f"{edge}: give {part} a row in tests/layering/layers.py"
                break
        else:
            if not layers.python_may_use(edge.source, edge.target):
                yield f"{edge}: against the layering"


def objects_of(build: Path, root: Path = ROOT) -> dict[Path, Path]:
    """Each core source with its object. A source without one means that the build is not this tree's."""
    found = {}
    for folder in layers.CPP_CORE:
        for source in sorted((root / "cpp" / folder).glob("*.cpp")):
            object_file = build / "CMakeFiles/flyball_core.dir" / (str(source.relative_to(root)) + ".o")
            if not object_file.exists():
                raise CannotLook(f"{object_file} does not exist: build first")
            found[source] = object_file
    if not found:
        raise CannotLook("no core sources found")
    return found


def run_tool(*command: str | Path) -> str:
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotLook(f"{command[0]} failed: {error}") from error
    return done.stdout


def symbols_of(object_file: Path) -> list[tuple[str, str]]:
    """(kind, name) of the object's external symbols; kinds as nm prints them."""
    lines = run_tool("nm", "--extern-only", "--format=posix", object_file).splitlines()
    symbols = [(kind, name) for name, kind, *_ in (line.split() for line in lines)]
    if not symbols:
        raise CannotLook(f"nm finds no symbols in {object_file}")
    return symbols


def symbols(build: Path, root: Path = ROOT) -> Iterator[str]:
    objects = objects_of(build, root)
    table = {source: symbols_of(object_file) for source, object_file in objects.items()}
    defined = {name for found in table.values() for kind, name in found if kind not in "Uvw"}
    for source, found in table.items():
        place = source.relative_to(root)
        for kind, name in found:
            if kind == "U" and name not in defined | LIBRARY_FUNCTIONS | LINKER_SYMBOLS:
                yield f"{place}: calls {name}, which the core does not have"
        if source.name.startswith(INSTRUCTION_SETS):
            exported = [name for kind, name in found if kind not in "UVWvw"]
            weak = [name for kind, name in found if kind in "VWvwu"]
            if len(exported) != 1:
                yield f"{place}: exports {len(exported)} symbols, not one: {', '.join(exported)}"
            if weak:
                # The linker may take this copy, compiled for newer processors, in place of the portable one.
                yield f"{place}: has weak symbols: {', '.join(weak)}"


def sections(build: Path, root: Path = ROOT) -> Iterator[str]:
    for source, object_file in objects_of(build, root).items():
        headers = run_tool("objdump", "--section-headers", object_file)
        for section, meaning in (
            (".init_array", "a static constructor"),
            (".tbss", "thread-local data"),
            (".tdata", "thread-local data"),
        ):
            if section in headers:
                yield f"{source.relative_to(root)}: has {meaning} ({section})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build/release", help="CMake's build directory")
    build = parser.parse_args().build
    try:
        problems = [*includes(), *system_includes(), *core_code(), *imports(), *symbols(build), *sections(build)]
    except CannotLook as error:
        print(f"cannot look: {error}", file=sys.stderr)
        return 2
    for problem in problems:
        print(problem)
    edges = [*layers.cpp_includes(), *layers.python_imports()]
    print(f"layering: {len(edges)} includes and imports, {len(objects_of(build))} objects, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
