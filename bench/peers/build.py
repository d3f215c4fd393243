"""Build llama.cpp from the public source distribution of llama-cpp-python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

from .process import run

PACKAGE = "llama-cpp-python"
VERSION = "0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
_PIP = [sys.executable, "-m", "pip", "download", "-q", "--no-binary", ":all:", "--no-deps"]
_COMPILERS = (("clang-19", "clang++-19"), ("clang", "clang++"))
_COMMON = (
    "GGML_OPENMP=OFF",
    "BUILD_SHARED_LIBS=OFF",
    "LLAMA_CURL=OFF",
    "LLAMA_BUILD_TESTS=OFF",
    "LLAMA_BUILD_EXAMPLES=OFF",
    "LLAMA_BUILD_SERVER=OFF",
    "LLAMA_BUILD_NUMBER=0",
    f"LLAMA_BUILD_COMMIT={PACKAGE}-{VERSION}",  # otherwise it would be the commit of a surrounding repository
)
_AVX2 = ("GGML_NATIVE=OFF", *(f"GGML_{name}=ON" for name in ("SSE42", "AVX", "AVX2", "FMA", "F16C", "BMI2")))
FLAGS = {  # the counterpart of each of our instruction sets
    "auto": ("GGML_NATIVE=ON",),
    "avx512": (*_AVX2, *(f"GGML_{name}=ON" for name in ("AVX512", "AVX512_VBMI", "AVX512_VNNI"))),
    "avx_vnni": (*_AVX2, "GGML_AVX_VNNI=ON"),
    "avx2": _AVX2,
    "sse41": (
        "GGML_NATIVE=OFF",
        "GGML_SSE42=ON",
        *(f"GGML_{name}=OFF" for name in ("AVX", "AVX2", "FMA", "F16C", "BMI2")),
    ),
}


class BuildFailed(Exception):
    """llama.cpp cannot be built here; the message has the remedy."""


def compiler() -> tuple[str, str]:
    """The clang compilers for C and C++."""
    for pair in _COMPILERS:
        if all(map(shutil.which, pair)):
            return pair
    raise BuildFailed("building llama.cpp needs clang: sudo apt-get install clang-19 (or name a built one with --peer)")


def how(isa: str) -> str:
    """Compiler and flags of our llama.cpp build, for the results."""
    return f"{compiler_name(compiler()[1])}, {' '.join(FLAGS[isa])}"


def compiler_name(program: str) -> str:
    """The first line of its --version."""
    return run([program, "--version"]).stdout.splitlines()[0]


def source(folder: Path, say: Callable[[str], None]) -> Path:
    """llama.cpp's source tree; downloaded if missing."""
    tree = folder / f"llama_cpp_python-{VERSION}" / "vendor" / "llama.cpp"
    if not tree.exists():
        say(f"Downloading {PACKAGE} {VERSION}")
        wanted = folder / "requirements.txt"
        folder.mkdir(parents=True, exist_ok=True)
        wanted.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{SHA256}\n")
        pip = [*_PIP, "-d", str(folder), "-r", str(wanted)]
        _call(pip, folder / "download.log", "downloading (is there a network?)")
        aside = folder / "unpacked"
        with tarfile.open(folder / f"llama_cpp_python-{VERSION}.tar.gz") as archive:
            archive.extractall(aside, filter="data")
        shutil.rmtree(tree.parents[1], ignore_errors=True)
        (aside / tree.parents[1].name).rename(tree.parents[1])
    return tree


def llama_bench(folder: Path, isa: str, say: Callable[[str], None]) -> Path:
    """llama-bench for one instruction set, with llama-batched-bench beside it; built if missing."""
    place = folder / f"llama.cpp-{VERSION}-{isa}"
    programs = [place / "bin" / name for name in ("llama-bench", "llama-batched-bench")]
    if not all(program.exists() for program in programs):
        c, cpp = compiler()
        tree = source(folder, say)
        say(f"Building llama.cpp ({isa}): about 10 minutes on two processors")
        settings = [f"-D{setting}" for setting in (*_COMMON, *FLAGS[isa])]
        tools = [f"-DCMAKE_C_COMPILER={c}", f"-DCMAKE_CXX_COMPILER={cpp}", "-DCMAKE_BUILD_TYPE=Release"]
        log = folder / f"build-{isa}.log"
        _call(["cmake", "-S", str(tree), "-B", str(place), "-G", "Ninja", *tools, *settings], log, "configuring")
        jobs = ["--parallel", str(os.cpu_count() or 1)]
        _call(["cmake", "--build", str(place), *jobs, "--target", *(p.name for p in programs)], log, "compiling")
    return programs[0]


def _call(argv: Sequence[str], log: Path, doing: str) -> None:
    with log.open("a") as out:
        try:
            code = subprocess.run(argv, stdout=out, stderr=subprocess.STDOUT, check=False).returncode
        except OSError as error:
            raise BuildFailed(f"{doing}: {argv[0]} cannot be started: {error.strerror}") from None
    if code != 0:
        tail = "\n  ".join(log.read_text(errors="replace").splitlines()[-12:])
        raise BuildFailed(f"{doing} failed, the end of {log} says:\n  {tail}")
