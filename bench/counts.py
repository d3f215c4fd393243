"""Count what a decode's kernels do for 256 weights, ours on AVX2 beside llama.cpp's, as compilers made them.

    .venv/bin/python -m bench.counts [--build build/release] [--peer build/peers/llama.cpp-0.3.36-auto]

The loops of each function are cut out of the object files (objdump), and llvm-mca tells their cycles on processors that
need not be here. It knows neither caches nor memory: what it tells is the bound of the instructions alone. Its model of
znver1 takes VCVTPH2PS for microcode of 100 cycles, where AMD's own tables have two operations: there VCVTDQ2PS stands
for it, in all programs. Prints a table for docs/performance.md. Needs binutils and llvm-mca (Debian: llvm-19); the peer
is built by bench/peers/run.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PROCESSORS = ("znver1", "znver3", "haswell", "skylake", "alderlake")
_ITERATIONS = 100
_AVX2 = "CMakeFiles/flyball_core.dir/cpp/kernels/avx2.cpp.o"
_PEER = "ggml/src/CMakeFiles/ggml-cpu.dir/ggml-cpu/arch/x86"
_MULTIPLY = re.compile(r"vp?(madd|mul)")
_SHUFFLE = re.compile(r"vp?(shuf|perm|unpck|align|broadcast|insert|extract|movsx|movzx|blend|pack)")
_NOT_COUNTED = re.compile(r"j\w+ |call|nop|ret|data16|cs nop")


@dataclass(frozen=True)
class Kernel:
    """A function whose longest loop makes `weights` products; loops inside of it run `trips` times."""

    type: str
    file: str
    function: str
    weights: int
    trips: int = 1


def ours(type_: str, name: str, weights: int, trips: int, blocks: str = "PackedBlocks") -> Kernel:
    """Our kernel for one token: a block of 16 rows, packed or as the file has it."""
    return Kernel(type_, _AVX2, rf"direct_from<.*::{name}, 1u, .*{blocks}", 16 * weights, trips)


OURS = [
    ours(type_, name, 256, 2)
    for type_, name in (
        ("Q4_K", "Q4K"),
        ("Q5_K", "Q5K"),
        ("Q6_K", "Q6K"),
        ("Q2_K", "Q2K"),
        ("Q3_K", "Q3K"),
        ("IQ4_XS", "Iq4Xs"),
    )
] + [
    ours("Q8_0", "Q8_0", 32, 1),
    ours("Q8_0 of a file", "Q8_0", 32, 1, "FileBlocks"),
    ours("Q4_0", "Q4_0", 32, 1),
]
THEIRS = [
    Kernel("Q4_K", f"{_PEER}/repack.cpp.o", "^ggml_gemv_q4_K_8x8_q8_K$", 8 * 256, 4),
    *(
        Kernel(type_, f"{_PEER}/quants.c.o", f"^ggml_vec_dot_{type_.lower()[:-1]}{type_[-1]}_{other}$", weights)
        for type_, other, weights in (
            ("Q5_K", "q8_K", 256),
            ("Q6_K", "q8_K", 256),
            ("Q2_K", "q8_K", 256),
            ("Q3_K", "q8_K", 256),
            ("Q8_0", "q8_0", 128),
        )
    ),
    Kernel("IQ4_XS", f"{_PEER}/quants.c.o", "^ggml_vec_dot_iq4_xs_q8_K$", 256),
    Kernel("Q4_0", f"{_PEER}/repack.cpp.o", "^ggml_gemv_q4_0_8x8_q8_0$", 8 * 32),
]


@dataclass(frozen=True)
class Loop:
    """Instructions from a jump's target to the jump."""

    begin: int
    end: int

    def contains(self, other: Loop) -> bool:
        """Whether the other one is inside."""
        return self != other and self.begin <= other.begin and other.end <= self.end


def disassembled(objdump: str, file: Path, function: str) -> list[tuple[int, str]]:
    """Addresses and instructions of the first function whose name matches."""
    text = subprocess.run(
        [objdump, "-d", "-C", "-w", "--no-show-raw-insn", file], check=True, capture_output=True, text=True
    )
    found: list[tuple[int, str]] = []
    inside = False
    for line in text.stdout.splitlines():
        if head := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            if found:
                break
            inside = re.search(function, head[1]) is not None
        elif inside and (one := re.match(r"\s*([0-9a-f]+):\s+(\S.*)$", line)):
            found.append((int(one[1], 16), re.sub(r"\s*[#<].*", "", one[2].strip())))
    if not found:
        raise SystemExit(f"{file} has no function {function}")
    return found


def loops_of(code: Sequence[tuple[int, str]]) -> list[Loop]:
    """All jumps back, the shortest first."""
    index = {address: i for i, (address, _) in enumerate(code)}
    found = set()
    for i, (_, text) in enumerate(code):
        jump = re.match(r"j\w+\s+([0-9a-f]+)$", text)
        if jump and (begin := index.get(int(jump[1], 16))) is not None and begin < i:
            found.add(Loop(begin, i))
    return sorted(found, key=lambda loop: loop.end - loop.begin)


def cycles(mca: str, code: Sequence[str], processor: str) -> float:
    """Cycles of one pass through straight code that is repeated."""
    if processor == "znver1":
        code = [
            re.sub(r"^vcvtph2ps\s+(%x)?", lambda found: "vcvtdq2ps " + ("%y" if found[1] else ""), text)
            for text in code
        ]
    arguments = [mca, "-mtriple=x86_64", f"-mcpu={processor}", f"-iterations={_ITERATIONS}"]
    said = subprocess.run(arguments, input="\n".join(code), check=True, capture_output=True, text=True).stdout
    total = re.search(r"^Total Cycles:\s+(\d+)", said, re.MULTILINE)
    assert total is not None
    return int(total[1]) / _ITERATIONS


def counts(objdump: str, mca: str, root: Path, kernel: Kernel) -> list[float]:
    """For 256 weights: instructions, multiplies, shuffles, and cycles on each processor."""
    code = disassembled(objdump, root / kernel.file, kernel.function)
    multiplying = [
        loop for loop in loops_of(code) if any("vpmadd" in text for _, text in code[loop.begin : loop.end + 1])
    ]
    outer = multiplying[-1]
    inner = next((loop for loop in multiplying if outer.contains(loop)), None) if kernel.trips > 1 else None

    def measured(loop: Loop) -> list[float]:
        body = [text for _, text in code[loop.begin : loop.end + 1] if not _NOT_COUNTED.match(text)]
        found = [float(len(body))]
        found += [float(sum(kind.match(text) is not None for text in body)) for kind in (_MULTIPLY, _SHUFFLE)]
        return found + [cycles(mca, body, processor) for processor in PROCESSORS]

    total = measured(outer)
    if inner is not None:
        total = [all_ + (kernel.trips - 1) * again for all_, again in zip(total, measured(inner), strict=True)]
    return [256 * value / kernel.weights for value in total]


def tool(*names: str) -> str:
    """The first of these programs that there is."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise SystemExit(f"{names[0]} is missing: sudo apt-get install binutils llvm-19")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="instructions and cycles of kernels for one token")
    parser.add_argument("--build", type=Path, default=Path("build/release"), help="folder of our build")
    parser.add_argument(
        "--peer", type=Path, default=Path("build/peers/llama.cpp-0.3.36-auto"), help="and of llama.cpp's"
    )
    args = parser.parse_args()
    objdump, mca = tool("objdump"), tool("llvm-mca-19", "llvm-mca")
    print("| type | | instructions | multiplies | shuffles |", *(f" {name} |" for name in PROCESSORS), sep="")
    print("|---|---|" + "---:|" * (3 + len(PROCESSORS)))
    for one in OURS:
        other = next(kernel for kernel in THEIRS if one.type.startswith(kernel.type))
        found = counts(objdump, mca, args.build, one)
        beside = counts(objdump, mca, args.peer, other)
        ratios = [f"{mine / theirs:.2f}" for mine, theirs in zip(found[3:], beside[3:], strict=True)]
        print(f"| {one.type} | Flyball |", *(f" {value:.0f} |" for value in found), sep="")
        print("| | llama.cpp |", *(f" {value:.0f} |" for value in beside), sep="")
        print("| | ratio | | | |", *(f" {ratio} |" for ratio in ratios), sep="")


if __name__ == "__main__":
    main()
