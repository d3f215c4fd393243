"""Coverage: each marker has a registered reason; log and journal, registry and documentation agree."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

from ... import journal
from ...evidence.gates import Verdict, failed, inconclusive, passed
from ...journal.events import REASONS
from ..context import Context
from ..results import StageResult
from .scenario import markers

PAGE = Path(__file__).parents[4] / "docs" / "reasons.md"
_ROW = re.compile(r"^\| `([A-Z_]+)` \|", re.MULTILINE)
_NAMED = re.compile(r"\b(?:governor|policy): ([A-Z_]+(?:, [A-Z_]+)*)")  # reasons on the console


def run(context: Context) -> StageResult:
    """Check the files of the scenario."""
    folder = Path(context.values("scenario").get("folder", ""))
    log, kept, output = folder / "log.txt", folder / "journal.jsonl", context.folder / "scenario" / "output.txt"
    if not log.is_file() or not kept.is_file():
        lost = " and ".join(str(file) for file in (log, kept) if not file.is_file())
        return StageResult("coverage", inconclusive("COVERAGE_GAPS", f"the scenario left no {lost}"))
    text = log.read_text()
    found = markers(text)
    n_lines = text.count("\n")
    console = [reason for names in _NAMED.findall(output.read_text()) for reason in names.split(", ")]
    report = journal.check(kept, log)
    counted = Counter(event.reason_id for event in journal.read(kept))
    used = context.values("journals").get("reasons", {})
    values = {
        "lines": n_lines,
        "markers": len(found),
        "with_reason": sum(reason is not None for _, reason in found),
        "console_markers": len(console),
        "journal_lines": report.n_lines,
        "real_use": sum(used.values()),
        "documented": None,
    }
    faults = [str(fault) for fault in (*report.faults, *report.doubts)]
    faults += agreement(Counter(reason for _, reason in found if reason), counted)
    unknown = sorted({r for r in [*(reason for _, reason in found), *console, *used] if r is not None} - set(REASONS))
    documented = documentation()
    if documented is not None:
        values["documented"] = len(documented)
    verdict = judge(found, n_lines, unknown, faults, documented)
    if verdict.reason_id in ("COVERAGE_GAPS", "COVERAGE_DIFFERS"):
        verdict = replace(verdict, hint=f"{verdict.hint}: flyball journal verify {kept} --log {log}")
    return StageResult("coverage", verdict, values)


def judge(
    found: list[tuple[str, str | None]],
    n_lines: int,
    unknown: list[str],
    faults: list[str],
    documented: set[str] | None,
) -> Verdict:
    """A single gap fails."""
    bare = [marker for marker, reason in found if reason is None]
    if bare or unknown or len(found) != n_lines:
        gaps = [f"[{marker}] has no reason" for marker in bare] + [f"{reason} is not registered" for reason in unknown]
        if len(found) != n_lines:
            gaps.append(f"{n_lines - len(found)} lines of the log have no marker")
        return failed(
            "COVERAGE_GAPS", "; ".join(gaps[:5]), "every decision in the code must name its reason", n=len(gaps)
        )
    if faults:
        return failed("COVERAGE_DIFFERS", "; ".join(faults[:5]), "log and journal must agree", n=len(faults))
    if documented is not None and documented != set(REASONS):
        differ = ", ".join(sorted(documented ^ set(REASONS))[:5])
        return failed("COVERAGE_UNDOCUMENTED", f"the registry and {PAGE} differ in {differ}", "run make reasons")
    with_docs = "" if documented is None else ", and the documentation lists them"
    return passed("COVERAGE_PASSED", f"{len(found)} markers with registered reasons, as in the journal{with_docs}")


def agreement(log: Counter[str], kept: Counter[str]) -> list[str]:
    """Reasons whose counts in log and journal differ."""
    names = sorted(set(log) | set(kept))
    return [f"{name}: {log[name]} in the log, {kept[name]} in the journal" for name in names if log[name] != kept[name]]


def documentation() -> set[str] | None:
    """Reasons in the documentation of a source checkout; None without a checkout."""
    return set(_ROW.findall(PAGE.read_text())) if PAGE.is_file() else None
