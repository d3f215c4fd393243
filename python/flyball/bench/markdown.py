"""Benchmark packs and comparisons as Markdown, for summaries of CI jobs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .compare import Bounds, Comparison, Row
from .pack import Pack


def manifest(pack: Pack) -> str:
    """What a pack is: build, model, seeds, digests, cases. No time and no path: the same pack gives the same text."""
    about = [
        ("build", f"{pack.build.version} at {pack.build.commit}"),
        ("extension", pack.build.extension),
        ("model", pack.model),
        ("fingerprint", pack.fingerprint),
        ("profile", f"{pack.profile}, {pack.repeat} samples of each case"),
        ("seed", str(pack.seed)),
        ("context", f"{pack.corpus.context} positions at most"),
        ("corpus", pack.corpus.sha256),
        ("pack", pack.sha256),
    ]
    cases = [
        (case.id, case.category, len(case.prompt), case.max_tokens, case.speculate, case.sampling["temperature"],
         case.seed(pack.seed))
        for case in pack.corpus.cases
    ]  # fmt: skip
    head = ("case", "category", "characters", "max_tokens", "speculate", "temperature", "seed")
    return f"# Benchmark pack\n\n{_table(('', ''), about, 2)}\n{_table(head, cases, 2)}"


def matrix(comparison: Comparison, bounds: Bounds) -> str:
    """The cases of both runs, with the changes of time, cycles, answers and work."""
    verdict = comparison.verdict
    head = ("case", "ms", "change", "decode cycles/token", "change", "digest", "work", "verdict")
    limits = f"Limits: {100 * (bounds.slow_down - 1):.3g} % of time, {100 * (bounds.counters - 1):.3g} % of work"
    parts = [
        f"## Benchmark: {verdict.outcome} ({plain(verdict.reason_id)})\n",
        f"{plain(verdict.message)}\n",
        _table(head, [_cells(row) for row in comparison.rows]),
        f"{limits}. Times: {plain(str(verdict.evidence['times']))}.\n",
    ]
    return "\n".join(parts)


def _cells(row: Row) -> Sequence[str]:
    base, current = row.base, row.current
    if base is None or current is None:
        return [row.case, *["–"] * 4, "gone" if current is None else "new", "–", row.verdict.reason_id]
    grown = [
        f"{name} {_change(n, current.counters.get(name, 0))}"
        for name, n in base.counters.items()
        if current.counters.get(name, 0) != n
    ]
    return [
        row.case,
        f"{base.median_ms:,.1f} → {current.median_ms:,.1f}",
        f"{100 * (row.times.ratio - 1):+.1f} %" if row.times else _change(base.median_ms, current.median_ms),
        "–" if base.decode is None or current.decode is None else f"{base.decode:,.0f} → {current.decode:,.0f}",
        _change(base.decode, current.decode),
        "same" if base.digest == current.digest else "other",
        ", ".join(grown) or "same",
        row.verdict.reason_id,
    ]


def _change(base: float | None, current: float | None) -> str:
    return f"{100 * (current / base - 1):+.1f} %" if base and current is not None else "–"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]], n_left: int = 1) -> str:
    """A table; the first `n_left` columns are text, the others numbers."""
    rule = [":--" if i < n_left else "--:" for i in range(len(head))]
    cells = [[*map(plain, head)], rule, *([plain(str(cell)) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def plain(text: str) -> str:
    """Text that is no Markdown, on one line: names and reasons come from files."""
    return re.sub(r"([\\`*_\[\]<>|~&$])", r"\\\1", "".join(c if c.isprintable() else " " for c in text))
