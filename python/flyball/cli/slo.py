"""`flyball slo`: recorded runs of scenarios against their service levels, as a report or as a gate."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..evidence.gates import Outcome
from . import common

if TYPE_CHECKING:
    from ..slo.gate import Finding

_FOLDER = "artifacts/bench"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("slo", help="judge scenarios by their service levels", description=__doc__)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, text, command in (
        ("report", "write the report: slo.md and slo.html", report),
        ("gate", "judge targets and regressions; exit codes 0 pass, 1 fail, 2 undecided or error", gate),
    ):
        one = actions.add_parser(name, help=text, description=text, parents=[common.JSON])
        one.add_argument("--dir", default=_FOLDER, metavar="DIR", help=f"folder of the runs (default: {_FOLDER})")
        one.add_argument("--slo", metavar="FILE", help="service levels (default: slo.toml here, if there is one)")
        if name == "report":
            one.add_argument("--out", metavar="DIR", help="folder of the report (default: that of the runs)")
        one.set_defaults(run=command)


def report(args: argparse.Namespace) -> int:
    """Write the report."""
    from ..slo import pages, report
    from ..slo.record import read_all
    from ..slo.targets import load

    folder = Path(args.dir).expanduser()
    out = Path(args.out).expanduser() if args.out else folder
    document = report.collect(read_all(folder), load(args.slo), folder, out)
    paths = pages.write(out, document)
    if args.json:
        common.write_json(document)
    else:
        common.write(f"{document['label']}: {document['summary']}\n{', '.join(map(str, paths))}\n")
    return common.SUCCESS


def gate(args: argparse.Namespace) -> int:
    """Judge the newest runs."""
    from ..slo.gate import counts, judge, label, overall
    from ..slo.history import lines
    from ..slo.record import read_all
    from ..slo.targets import load

    levels = load(args.slo)
    runs = read_all(Path(args.dir).expanduser())
    findings = judge(lines(runs), levels)
    outcome = overall(findings)
    if args.json:
        found = [finding.as_dict() for finding in findings]
        common.write_json({"schema_version": 1, "outcome": str(outcome), "newest": runs[-1].file, "findings": found})
    else:
        _show(findings)
        common.write(f"\n{label(outcome)}: {counts(findings)}; newest run {runs[-1].file}\n")
    codes = {Outcome.PASS: common.SUCCESS, Outcome.FAIL: common.FAILURE, Outcome.INCONCLUSIVE: common.ERROR}
    return codes[outcome]


def _show(findings: list[Finding]) -> None:
    from ..slo.gate import label

    table = [["SCENARIO", "METRIC", "VALUE", "TARGET", "VERDICT", "WHY"]]
    for finding in findings:
        verdict = finding.verdict
        numbers = ["-" if number is None else f"{number:,.4g}" for number in (finding.value, finding.target)]
        table.append([finding.scenario, finding.metric, *numbers, label(verdict.outcome), verdict.message])
    common.write_table(table, right=(2, 3))
    for hint in dict.fromkeys(f.verdict.hint for f in findings if f.verdict.hint):
        common.write(f"hint: {hint}\n")
