"""The house rules hold, and the check itself finds what it is for."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ops import layering_picture
from tests.layering import check_layering as check
from tests.layering import layers

BUILD = layers.ROOT / "build/release"


@pytest.mark.parametrize("rule", [check.includes, check.system_includes, check.core_code, check.imports])
def test_sources(rule: object) -> None:
    assert callable(rule)
    assert list(rule()) == []


@pytest.mark.parametrize("rule", [check.symbols, check.sections])
def test_objects(rule: object) -> None:
    assert callable(rule)
    assert list(rule(BUILD)) == []


def test_there_is_something_to_check() -> None:
    assert len(list(layers.cpp_includes())) > 50
    assert len(list(layers.python_imports())) > 5


@pytest.mark.skipif(
    shutil.which("clang++-19") is None and os.environ.get("CI") != "true", reason="clang++-19 is not installed"
)
def test_core_compiles_freestanding() -> None:
    done = subprocess.run(
        ["cmake", "--build", BUILD, "--target", "freestanding"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_picture_is_current() -> None:
    drawn = (layers.ROOT / "docs/images/layering.svg").read_text()
    assert drawn == layering_picture.picture(), "the layering has changed: run `make picture`"


def tree(tmp_path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("source", "target", "good"),
    [
        ("gguf", "base", True),
        ("base", "gguf", False),
        ("kernels", "tokenizer", False),
        ("tokenizer", "kernels", False),
        ("runtime", "governor", False),
        ("governor", "runtime", True),
        ("host", "base", True),
        ("host", "gguf", False),
        ("engine", "host", False),
        ("repl", "host", False),
        ("bind", "host", True),
        ("bind", "cli", False),
        ("engine", "repl", False),
    ],
)
def test_cpp_directions(tmp_path: Path, source: str, target: str, good: bool) -> None:
    root = tree(tmp_path, {f"cpp/{source}/a.cpp": f'#include "{target}/b.h"\n', f"cpp/{target}/b.h": ""})
    assert (list(check.includes(root)) == []) is good


def test_unknown_folder_is_found(tmp_path: Path) -> None:
    root = tree(tmp_path, {"cpp/attic/a.cpp": '#include "base/b.h"\n', "cpp/base/b.h": ""})
    assert len(list(check.includes(root))) == 1


def test_library_headers_are_found(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "cpp/model/a.cpp": "#include <stdint.h>\n#include <vector>\n#include <immintrin.h>\n",
            "cpp/kernels/avx2.cpp": "#include <immintrin.h>\n",
            "cpp/host/a.cpp": "#include <vector>\n",
        },
    )
    assert [problem.split(":")[1] for problem in check.system_includes(root)] == ["2", "3"]


@pytest.mark.parametrize(
    ("line", "good"),
    [
        ("std::string s;", False),
        ("long n = 0;", False),
        ("auto* p = new int;", False),
        ("delete p;", False),
        ("throw 1;", False),
        ("thread_local int n;", False),
        ("__m256i v;", False),
        ("// a long std::string, new and old", True),
        ('Str s = "std:: throw new";', True),
        ("Model(const Model&) = delete;", True),
        ("auto* p = new (memory) State();", True),
        ("constexpr u64 longest = 1'000'000;", True),
    ],
)
def test_core_code(tmp_path: Path, line: str, good: bool) -> None:
    root = tree(tmp_path, {"cpp/model/a.cpp": line + "\n"})
    assert (list(check.core_code(root)) == []) is good


def test_python_directions(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "python/flyball/__init__.py": "from flyball.cli import main\n",
            "python/flyball/errors.py": "",
            "python/flyball/files.py": "from .errors import Error\nfrom .cli import main\n",
            "python/flyball/cli/__init__.py": "from ..engine.model import Model\n",
            "python/flyball/cli/run.py": "import flyball.engine.model\nfrom . import info\n",
            "python/flyball/cli/info.py": "import json\n",
            "python/flyball/engine/__init__.py": "",
            "python/flyball/engine/model.py": "from .. import _core\n",
            "python/flyball/attic.py": "from .files import write\n",
        },
    )
    problems = list(check.imports(root))
    assert len(problems) == 2, problems
    assert "attic" in problems[0]
    assert problems[1].startswith("python/flyball/files.py:2: files uses cli")


@pytest.mark.parametrize(
    ("file", "line", "good"),
    [
        ("engine/session.py", "from .options import x", True),
        ("engine/session.py", "from . import options", True),
        ("engine/options.py", "from .session import x", False),
        ("engine/options.py", "from . import session", False),
        ("engine/options.py", "import flyball.engine.session", False),
        ("engine/options.py", "from flyball.engine import session", False),
        ("engine/options.py", "if TYPE_CHECKING:\n    from .session import x", False),
        ("engine/options.py", "def f():\n    from .session import x", False),
        ("engine/attic.py", "from .options import x", False),
        ("_core.pyi", "from .engine.options import x", False),
        ("_core.pyi", "from .errors import x", True),
        ("journal/events.py", "from ..engine.options import x", False),
    ],
)
def test_python_order_inside_a_package_and_of_types(tmp_path: Path, file: str, line: str, good: bool) -> None:
    files = dict.fromkeys(("engine/options.py", "engine/session.py", "errors.py"), "")
    root = tree(tmp_path, {f"python/flyball/{name}": text for name, text in {**files, file: line + "\n"}.items()})
    assert (list(check.imports(root)) == []) is good


def compile_core(root: Path, name: str, code: str) -> Path:
    """A build directory that holds the object of one core source."""
    source = root / "cpp/kernels" / name
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(code)
    object_file = root / "build/CMakeFiles/flyball_core.dir/cpp/kernels" / (name + ".o")
    object_file.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["c++", "-std=c++20", "-O0", "-c", source, "-o", object_file], check=True)
    return root / "build"


@pytest.mark.parametrize(
    ("name", "code", "n_problems"),
    [
        ("avx2.cpp", 'extern "C" int table = 1;', 0),
        ("avx2.cpp", 'extern "C" int table = 1, another = 2;', 1),
        ("avx2.cpp", 'inline int weak() { return 1; } extern "C" int table() { return weak(); }', 1),
        ("sse41.cpp", 'extern "C" int table = 1, another = 2;', 1),
        ("plain.cpp", "inline int weak() { return 1; } int table() { return weak(); }", 0),
        ("plain.cpp", 'extern "C" void* malloc(decltype(sizeof 0)); void* table() { return malloc(1); }', 1),
    ],
)
def test_symbols(tmp_path: Path, name: str, code: str, n_problems: int) -> None:
    build = compile_core(tmp_path, name, code)
    assert len(list(check.symbols(build, tmp_path))) == n_problems


def test_static_constructors_are_found(tmp_path: Path) -> None:
    build = compile_core(tmp_path, "a.cpp", "int f(); int n = f();")
    assert len(list(check.sections(build, tmp_path))) == 1


def test_missing_evidence_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = compile_core(tmp_path, "a.cpp", "int n = 1;")
    next(build.rglob("*.o")).write_bytes(b"not an object")
    with pytest.raises(check.CannotLook):
        list(check.symbols(build, tmp_path))
    next(build.rglob("*.o")).unlink()
    with pytest.raises(check.CannotLook):
        list(check.symbols(build, tmp_path))
    build = compile_core(tmp_path, "a.cpp", "int n = 1;")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(check.CannotLook):
        list(check.symbols(build, tmp_path))
