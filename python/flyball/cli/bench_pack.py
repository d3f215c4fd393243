"""`flyball bench pack|run|compare`: run the same cases on another machine or build and compare the results."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .. import files
from ..engine.model import Model, demo_model_path
from ..errors import InvalidArgument, NotFound
from ..evidence.gates import Outcome
from . import common

if TYPE_CHECKING:
    from ..bench.compare import Comparison, Row
    from ..bench.pack import Pack
    from ..bench.results import Pairs, Results

_PAIRS = 25  # the minimum without --repeat: fewer rarely detect 3 %


def add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the actions."""
    one = actions.add_parser(
        "pack", help="write the frozen cases with build, model and seed to a file", parents=[common.MODEL_FLAG]
    )
    one.add_argument("--seed", type=int, default=0, metavar="N", help="added to each case's own seed (default: 0)")
    one.add_argument(
        "--profile", default="ci", metavar="NAME", help="number of samples: quick, ci, nightly, release (default: ci)"
    )
    one.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FILE",
        help="file to write; an existing folder, or a name that ends with /: benchmark-pack.json in it, with"
        " benchmark-input.jsonl and benchmark-manifest.md for other programs and for people",
    )
    one.set_defaults(run=pack)

    one = actions.add_parser("run", help="run a pack", epilog="Exit codes: 0 every case ran, 1 some failed, 2 error.")
    one.add_argument("pack", metavar="PACK", help="file that bench pack wrote")
    one.add_argument("--model", metavar="FILE", help="the model that the pack was made with (default: the bundled one)")
    one.add_argument("--repeat", type=int, metavar="N", help="samples of each case (default: from the pack's profile)")
    one.add_argument(
        "--threads", type=int, default=1, metavar="N", help="compute threads (default: 1, which varies least)"
    )
    one.add_argument("--against", metavar="PYTHON", help="the Python of another build's environment: run both in turn")
    one.add_argument("-o", "--output", required=True, metavar="FILE", help="file to write")
    one.set_defaults(run=run)

    one = actions.add_parser(
        "compare",
        help="compare two result files, or the pairs of run --against",
        epilog="Exit codes: 0 pass, 1 fail, 2 inconclusive or error.",
        parents=[common.JSON],
    )
    one.add_argument(
        "--threshold", type=float, default=3.0, metavar="PERCENT", help="slow-down to find, in percent (default: 3)"
    )
    one.add_argument(
        "--fail-on-regression",
        action="store_true",
        help="a slow-down beyond the threshold fails although it was not measured in pairs (default: inconclusive)",
    )
    one.add_argument("--markdown", action="store_true", help="print a matrix of the cases as Markdown")
    one.add_argument("base", metavar="BASE", help="results to compare with, or the pairs of run --against")
    one.add_argument("current", nargs="?", metavar="CURRENT", help="results of the build under test")
    one.set_defaults(run=compare)


def pack(args: argparse.Namespace) -> int:
    """Write a pack."""
    from ..bench.fields import write
    from ..bench.markdown import manifest
    from ..bench.pack import Pack

    with Model.load(args.model or demo_model_path(), vocab_only=True) as model:
        made = Pack.make(model, args.profile, args.seed)
    output = Path(args.output).expanduser()
    if args.output.endswith("/") or output.is_dir():
        output.mkdir(parents=True, exist_ok=True)
        files.write(output / "benchmark-input.jsonl", made.inputs())
        files.write(output / "benchmark-manifest.md", manifest(made))
        output /= "benchmark-pack.json"
    write(output, made.as_dict())
    common.write(f"{output}: {len(made.corpus.cases)} cases, {made.model}, SHA-256 {made.sha256}\n")
    return common.SUCCESS


def run(args: argparse.Namespace) -> int:
    """Run a pack with this build, or with this build and another one in turn."""
    from ..bench import run as bench
    from ..bench.fields import write
    from ..bench.pack import Pack

    found = Pack.read(args.pack)
    for name, least, most in (("repeat", 1, 10_000), ("threads", 1, 1024)):
        value = getattr(args, name)
        if value is not None and not least <= value <= most:
            raise InvalidArgument(f"--{name}", f"is {value}, must be from {least} to {most}")
    folder = Path(args.output).expanduser().parent
    if not folder.is_dir():  # checked before the long measurement
        raise NotFound(str(folder), "does not exist; make it first")
    model = Path(args.model).expanduser() if args.model else demo_model_path()
    progress = common.Progress()
    if args.against is None:
        results = bench.run(found, model, args.threads, args.repeat or found.repeat, progress)
        sides = {"": results}
        write(args.output, results.as_dict())
    else:
        pairs = _against(found, args.against, model, args.threads, args.repeat, progress)
        sides = {"base": pairs.base, "current": pairs.current}
        write(args.output, pairs.as_dict())
    for name, side in sides.items():
        _show_results(name, side)
    return common.FAILURE if any(side.failures for side in sides.values()) else common.SUCCESS


def compare(args: argparse.Namespace) -> int:
    """Compare results and print the verdict."""
    from ..bench.compare import Bounds, compare, compare_pairs, incomparable
    from ..bench.markdown import matrix
    from ..bench.results import Results, read

    if not 0 < args.threshold <= 1000:
        raise InvalidArgument("--threshold", f"is {args.threshold:g}, must be above 0 and at most 1000 (percent)")
    if args.json and args.markdown:
        raise InvalidArgument("--markdown", "and --json are two forms of the result; give one")
    bounds = Bounds(slow_down=1 + args.threshold / 100, regressions=args.fail_on_regression)
    base = read(args.base)
    if isinstance(base, Results):
        if args.current is None:
            raise InvalidArgument(args.base, "has the results of one build; give the other build's results as well")
        current = read(args.current)
        if not isinstance(current, Results):
            raise InvalidArgument(args.current, "has pairs: compare it alone")
        if why := incomparable(base, current):
            raise InvalidArgument(args.current, f"is not comparable with {args.base}: {why}; run the same pack on both")
        comparison = compare(base, current, bounds)
    elif args.current is not None:
        raise InvalidArgument(args.base, "has pairs: compare it alone")
    else:
        if why := incomparable(base.base, base.current):
            raise InvalidArgument(args.base, f"has pairs that are not comparable: {why}; run it again")
        comparison = compare_pairs(base, bounds)
    if args.json:
        common.write_json(comparison.as_dict())
    elif args.markdown:
        common.write(matrix(comparison, bounds))
    else:
        _show(comparison)
    codes = {Outcome.PASS: common.SUCCESS, Outcome.FAIL: common.FAILURE, Outcome.INCONCLUSIVE: common.ERROR}
    return codes[comparison.verdict.outcome]


def _against(
    found: Pack, python: str, model: Path, threads: int, repeat: int | None, progress: common.Progress
) -> Pairs:
    """Measure all pairs, then repeat the cases that seem slower."""
    from ..bench import run as bench
    from ..bench.compare import suspects

    n_pairs = repeat or max(found.repeat, _PAIRS)
    pairs = bench.against(found, python, model, threads, n_pairs, progress)
    suspected = suspects(pairs)
    if not suspected:
        return pairs
    common.say_error(f"measuring again, since they seem slower: {common.printable(', '.join(suspected))}")
    fewer = replace(found, corpus=found.corpus.pick(suspected))
    return replace(pairs, again=bench.against(fewer, python, model, threads, n_pairs, progress, seed=1))


def _show_results(name: str, results: Results) -> None:
    build = results.build
    common.write(
        f"{name + ': ' if name else ''}flyball {build.version} at {build.commit}, extension {build.extension[:12]}\n"
    )
    table = [["CASE", "MS", "PREFILL CYC/TOK", "DECODE CYC/TOK", "CALLS", "INSTRUCTIONS", "DIGEST"]]
    for case, result in results.cases.items():
        counted = "not measured" if result.instructions is None else f"{result.instructions:,}"
        cycles = [common.rate(result.prefill), common.rate(result.decode)]
        calls = str(result.counters["transformer_calls"])
        table.append([case, f"{result.median_ms:.1f}", *cycles, calls, counted, result.digest[:12]])
    common.write_table(table, right=range(1, 6))
    for case, why in results.failures.items():
        common.write(f"{case}: {common.printable(why)}\n")


def _show(comparison: Comparison) -> None:
    header = ["CASE", "MS", "RATIO", "PREFILL CYC/TOK", "DECODE CYC/TOK", "WORK", "DIGEST", "VERDICT"]
    common.write_table([header, *([common.printable(cell) for cell in _cells(row)] for row in comparison.rows)])
    verdict = comparison.verdict
    common.write(f"\n{verdict.outcome} [{verdict.reason_id}] {common.printable(verdict.message)}\n")
    if verdict.hint:
        common.write(f"{verdict.hint}\n")


def _cells(row: Row) -> list[str]:
    base, current = row.base, row.current
    if base is None or current is None:
        return [row.case, *["-"] * 6, row.verdict.reason_id]
    ratio = row.times.ratio if row.times else current.median_ms / base.median_ms
    grown = [name for name, count in base.counters.items() if current.counters[name] != count]
    return [
        row.case,
        f"{base.median_ms:.1f} > {current.median_ms:.1f}",
        f"{ratio:.3f}",
        f"{common.rate(base.prefill)} > {common.rate(current.prefill)}",
        f"{common.rate(base.decode)} > {common.rate(current.decode)}",
        ", ".join(f"{name} {base.counters[name]} > {current.counters[name]}" for name in grown) or "same",
        "same" if base.digest == current.digest else "other",
        row.verdict.reason_id,
    ]
