"""Results as Markdown: the source of every figure in docs/performance.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import stats
from .cases import OURS, TESTS

MARKS = ("<!-- results: written by bench/peers/run --report -->", "<!-- end of results -->")
_FOREIGN, _SLOWER = 0.05, 1.10  # above either of them a round counts as disturbed

Entry = Mapping[str, Any]


class NoPlace(Exception):
    """The page lacks the markers."""


def rewrite(page: Path, body: str, marks: tuple[str, str] = MARKS) -> None:
    """Replace the text between the markers."""
    before, begin, rest = page.read_text().partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not begin or not end:
        raise NoPlace(f"{page} lacks the lines {marks[0]} and {marks[1]}")
    page.write_text(f"{before}{begin}\n\n{body.strip()}\n\n{end}{after}")


def machine_name(document: Mapping[str, Any]) -> str:
    """What tells a machine from others: its cores where they are known, else its processor."""
    machine = document["machine"]
    return machine.get("core") or str(machine["processor"])


def markdown(document: Mapping[str, Any]) -> str:
    """The machine, a table for each model, and lists of where Flyball is behind and of missing figures."""
    entries = [entry for entry in document["cases"].values() if entry["rounds"] or entry["missing"]]
    peers = peer_names(entries)
    parts = [f"### On {machine_name(document)}", _about(document)]
    for isa, model in dict.fromkeys((entry["isa"], entry["model"]) for entry in entries):
        mine = [entry for entry in entries if (entry["isa"], entry["model"]) == (isa, model)]
        parts += [f"#### {model}, {_isa(isa)}", _table(mine, peers)]
    return "\n\n".join([*parts, *_behind(entries, peers), *_settings(entries, peers), *_missing(entries)]) + "\n"


def peer_names(entries: Sequence[Entry]) -> list[str]:
    """All programs except ours, in order of appearance."""
    names = dict.fromkeys(name for entry in entries for name in (*entry["chosen"], *entry["missing"]))
    return [name for name in names if name != OURS]


def against(entry: Entry, peer: str) -> stats.Spread | None:
    """The ratio of ours to theirs, from the rounds that have both."""
    pairs = [(r[OURS]["value"], r[peer]["value"]) for r in entry["rounds"] if OURS in r and peer in r]
    return stats.ratio(pairs) if pairs else None


def median(entry: Entry, program: str, key: str = "value") -> float | None:
    """The median of one program over the rounds."""
    values = [r[program][key] for r in entry["rounds"] if key in r.get(program, {})]
    return stats.spread(values).median if values else None


def disturbed(document: Mapping[str, Any]) -> tuple[int, int]:
    """(Rounds disturbed by other processes or a slower processor, all rounds)."""
    rounds = [r for entry in document["cases"].values() for r in entry["rounds"]]
    limit = _SLOWER * min((r["calibration_ms"] for r in rounds), default=0.0)
    foreign = [max((s["foreign"] for s in r.values() if isinstance(s, dict)), default=0.0) for r in rounds]
    found = [r["calibration_ms"] > limit or f > _FOREIGN for r, f in zip(rounds, foreign, strict=True)]
    return sum(found), len(found)


# ---------------------------------------------------------------- parts


def _isa(isa: str) -> str:
    return "best instruction set" if isa == "auto" else f"{isa} in all programs"


def threads_of(n: int) -> str:
    """The thread count in words."""
    return "1 thread" if n == 1 else f"{n} threads"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _ahead(entry: Entry, ratio: stats.Spread) -> bool:
    return (ratio.median >= 1) == TESTS[entry["test"]].higher


def _times(ratio: stats.Spread, strong: bool = False) -> str:
    middle = f"**{ratio.median:.2f}**" if strong else f"{ratio.median:.2f}"
    return f"{middle} ({ratio.low:.2f} to {ratio.high:.2f})"


def _table(entries: Sequence[Entry], peers: Sequence[str]) -> str:
    head = ["Test", "Type", "Flyball", *(cell for peer in peers for cell in (peer, "ratio")), "of the limit"]
    rows = [head, ["---", "---", *["---:"] * (len(head) - 3), "---"]]
    for entry in sorted(entries, key=lambda e: (list(TESTS).index(e["test"]), e["threads"])):
        row = [f"{entry['title']}, {TESTS[entry['test']].unit}", f"{entry['type']}, {threads_of(entry['threads'])}"]
        row.append(_number(median(entry, OURS)))
        for peer in peers:
            ratio = against(entry, peer)
            row += [_number(median(entry, peer)), _times(ratio, _ahead(entry, ratio)) if ratio else "-"]
        rows.append([*row, _limit(entry)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _limit(entry: Entry) -> str:
    share, gb_s, token_gb, one = (median(entry, OURS, key) for key in ("share", "gb_s", "token_gb", "one"))
    if share and gb_s:
        read = f", {token_gb:.2f} GB a token" if token_gb else ""
        return f"{100 * share:.0f} % of {gb_s:.1f} GB/s{read}"
    return f"{(median(entry, OURS) or 0) / one:.1f} x one sequence" if one else ""


def _about(document: Mapping[str, Any]) -> str:
    machine = document["machine"]
    bandwidth = ", ".join(f"{gb:.1f} GB/s with {threads_of(int(n))}" for n, gb in document["bandwidth_gb_s"].items())
    programs = "; ".join(f"{name} {version}" for name, version in document["programs"].items())
    rounds = sorted({len(entry["rounds"]) for entry in document["cases"].values() if entry["rounds"]})
    rounds = rounds[:1] + rounds[1:][-1:]
    n_disturbed, n_rounds = disturbed(document)
    return (
        f"Measured on {document['date']}: {machine['processor']}, {machine['cores']} processors"
        f"{' of a virtual machine' if machine['hypervisor'] else ''}, {machine['memory_gb']} GB; "
        f"{', '.join(machine['features'])}; Linux {machine['kernel']}. Memory reads {bandwidth}.\n\n"
        f"{programs}.\n\n"
        f"{' to '.join(map(str, rounds))} rounds a row; {n_disturbed} of all {n_rounds} were "
        "disturbed by other work on the machine. A ratio is Flyball's median over the other's, in brackets the "
        "extremes of the single rounds, **bold** where Flyball is ahead. Of time and memory less is better."
    )


def _behind(entries: Sequence[Entry], peers: Sequence[str]) -> list[str]:
    found = [(e, peer, ratio) for e in entries for peer in peers if (ratio := against(e, peer)) is not None]
    lines = [
        f"- {e['title']}, {e['model']} {e['type']}, {threads_of(e['threads'])}, {_isa(e['isa'])}: "
        f"{_times(ratio)} {peer}"
        for e, peer, ratio in found
        if not _ahead(e, ratio)
    ]
    head = f"#### Where Flyball is behind: {len(lines)} of {len(found)} comparisons"
    return [head, "\n".join(lines)] if lines else [head]


def _settings(entries: Sequence[Entry], peers: Sequence[str]) -> list[str]:
    """The peers' better settings, with the number of rows."""
    lines = []
    for peer in peers:
        found = Counter((e["title"], e["chosen"][peer]) for e in entries if e["chosen"].get(peer))
        tests = dict.fromkeys(title for title, _ in found)
        words = {t: ", ".join(f"`{way}` ({n})" for (title, way), n in found.items() if title == t) for t in tests}
        lines += [f"- {peer}, {title}: {ways}" for title, ways in words.items()]
    return ["#### The peers' better settings (rows)", "\n".join(lines)] if lines else []


def _missing(entries: Sequence[Entry]) -> list[str]:
    who: dict[tuple[str, str, str], list[str]] = {}
    for entry in entries:
        for name, reason in entry["missing"].items():
            names = who.setdefault((entry["model"], entry["title"], reason), [])
            names += [name] if name not in names else []
    lines = [f"- {title}, {model}: {', '.join(names)}: {reason}" for (model, title, reason), names in who.items()]
    return ["#### Not measured", "\n".join(lines)] if lines else []
