"""The compared programs: the command of each test, and how to read the figure from its output."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, Protocol

from .build import compiler_name
from .cases import OURS, Case
from .process import Failed, Outcome, run

Sample = dict[str, float]
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Command:
    """One way to run a test; `label` names the settings if a program has several."""

    label: str
    argv: tuple[str, ...]


class Program(Protocol):
    """Flyball or a peer."""

    @property
    def name(self) -> str: ...
    def version(self) -> str: ...
    def commands(self, case: Case) -> list[Command]: ...
    def read(self, case: Case, outcome: Outcome) -> Sample: ...


def _sample(case: Case, outcome: Outcome, value: Any = None, **more: float | None) -> Sample:
    found = {"load": outcome.seconds * 1e3, "memory": outcome.rss_mb}.get(case.test.name, value)
    if not isinstance(found, int | float) or not found > 0:
        raise Failed(f"no figure in the output: {outcome.stdout[:200]!r}")
    about = {"seconds": outcome.seconds, "rss_mb": outcome.rss_mb, "foreign": outcome.foreign} | more
    return {"value": round(found, 4)} | {key: round(number, 4) for key, number in about.items() if number is not None}


def _objects(text: str) -> list[dict[str, Any]]:
    """The objects in a JSON document, or in JSON lines."""
    try:
        found = (
            json.loads(text)
            if text.startswith("[")
            else [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        )
    except ValueError:
        found = []
    if not found or not all(isinstance(row, dict) for row in found):
        raise Failed(f"not the expected JSON: {text[:200]!r}")
    return list(found)


# ---------------------------------------------------------------- Flyball


@dataclass(frozen=True)
class Flyball:
    """This project's own command line."""

    program: Path
    name: str = OURS

    def version(self) -> str:
        """The version, the last commit that touched the measured sources, and the compiler."""
        about = run([str(self.program), "--version"]).stdout.split()[-1]
        git, sources = ["git", "-C", str(_ROOT)], ["--", "cpp", "python", "cmake", "CMakeLists.txt"]
        try:
            commit = run([*git, "log", "-1", "--format=%h", *sources]).stdout.strip()
            commit += " with changes" if run([*git, "status", "--porcelain", *sources]).stdout else ""
        except Failed:  # a source distribution has no repository
            commit = "its release"
        return f"{about} at {commit}, {compiler_name('c++')}"

    def commands(self, case: Case) -> list[Command]:
        """One command, as the defaults are the best settings."""
        common = ["--threads", str(case.threads), "--isa", case.isa]
        return [Command("", (str(self.program), *self._words(case, str(case.file.path)), *common))]

    def _words(self, case: Case, file: str) -> list[str]:
        if case.test.name == "load":
            return ["run", file, "--prompt", "a", "-n", "1", "--quiet", "--no-receipt"]
        before, gen = map(str, case.steps)
        sizes = {
            "prompt": ["--prompt", before, "--gen", "1", "--no-bandwidth"],
            "batch": ["--prompt", "1", "--depth", before, "--gen", gen, "--sequences", str(case.lengths.sequences)],
            "memory": [
                "--prompt",
                "1",
                "--depth",
                before,
                "--gen",
                gen,
                "--no-bandwidth",
            ],  # the bandwidth probe would add memory
        }.get(case.test.name, ["--prompt", "1", "--depth", before, "--gen", gen])
        return ["bench", "speed", file, *sizes, "--repeat", "1", "--json"]

    def read(self, case: Case, outcome: Outcome) -> Sample:
        """The row of `flyball bench speed --json`."""
        if case.test.name == "load":
            return _sample(case, outcome)
        row = _objects(f"[{outcome.stdout}]")[0]["rows"][0]
        key = {"prompt": "prefill_tok_s", "batch": "sequences_tok_s"}.get(case.test.name, "decode_tok_s")
        more: dict[str, float | None] = (
            {"one": row["decode_tok_s"]}
            if case.test.name == "batch"
            else {
                "share": row["decode_bandwidth_share"],
                "token_gb": row["decode_bytes_per_token"] / 1e9,
            }
        )
        return _sample(case, outcome, row[key], gb_s=row["read_bandwidth_gb_s"], **more)


# ---------------------------------------------------------------- llama-bench and compatible programs


@dataclass(frozen=True)
class Peer:
    """A llama-bench, with an optional llama-batched-bench beside it."""

    name: str
    bench: Path
    small_model: Path  # to query its version
    built: str = ""  # compiler and flags, if known

    @cached_property
    def _help(self) -> str:
        return run([str(self.bench), "--help"]).stdout

    def version(self) -> str:
        """The commit that its output reports."""
        words = ["-m", str(self.small_model), "-p", "1", "-n", "0", "-t", "1", "-r", "1", "-o", "json"]
        try:
            commit = _objects(run([str(self.bench), *words]).stdout)[0].get("build_commit", "of unknown version")
        except Failed as error:
            raise Failed(f"{self.name} is not a llama-bench that runs here: {error}") from None
        return f"{commit}, {self.built}" if self.built else str(commit)

    def commands(self, case: Case) -> list[Command]:
        """All combinations of flash attention and repacking at load, each off and on."""
        common = ["-m", str(case.file.path), "-t", str(case.threads), "-b", "512", "-ub", "512"]
        common += ["-ctk", "f16", "-ctv", "f16"]
        if case.test.name == "batch":
            words, labels = self._batched(case), ["-fa off", "-fa on"]
        else:
            words = [str(self.bench), *self._words(case), "-r", "1", "-o", "json"]
            repack = ("-rtr 0", "-rtr 1") if "-rtr" in self._help else ("",)
            labels = [f"{fa} {more}".strip() for fa, more in product(("-fa 0", "-fa 1"), repack)]
        return [Command(label, (*words, *common, *label.split())) for label in labels]

    def _words(self, case: Case) -> list[str]:
        before, gen = map(str, case.steps)
        if case.test.name == "prompt":
            return ["-p", before, "-n", "0"]
        if case.test.name == "load":
            return ["-p", "0", "-n", "1", *(["--no-warmup"] if "--no-warmup" in self._help else ["-w", "0"])]
        if "--n-depth" in self._help:
            return ["-p", "0", "-n", gen, "-d", before]
        if "-gp " in self._help:
            return ["-p", "0", "-n", "0", "-gp", f"{before},{gen}"]
        raise Failed(f"{self.bench.name} cannot decode after a prompt (neither -d nor -gp)")

    def _batched(self, case: Case) -> list[str]:
        program = self.bench.with_name(self.bench.name.replace("llama-bench", "llama-batched-bench"))
        if not program.is_file():
            raise Failed("no llama-batched-bench beside its llama-bench")
        before, gen = case.steps
        n = case.lengths.sequences
        context = n * -(-(before + gen) // 256) * 256  # whole pages of 256 for each sequence
        sizes = ["-npp", str(before), "-ntg", str(gen), "-npl", f"1,{n}", "-c", str(context)]
        return [str(program), *sizes, "--output-format", "jsonl"]

    def read(self, case: Case, outcome: Outcome) -> Sample:
        """llama-bench prints a JSON list with one test, llama-batched-bench JSON lines for 1 and N sequences."""
        if case.test.name in ("load", "memory"):
            return _sample(case, outcome)
        rows = _objects(outcome.stdout.strip())
        if any(row.get("n_threads") != case.threads for row in rows):
            raise Failed(f"it did not run with {case.threads} threads: {outcome.stdout[:200]!r}")
        if case.test.name == "batch":
            speeds = {row.get("pl"): row.get("speed_tg") for row in rows}
            return _sample(case, outcome, speeds.get(case.lengths.sequences), one=speeds.get(1))
        return _sample(case, outcome, rows[0].get("avg_ts"))
