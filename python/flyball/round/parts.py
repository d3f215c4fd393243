"""What each part of a round showed: its verdict, its figures, and the files of results that they are from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .. import files
from ..bench.fields import Fields, dump, parse
from ..errors import Error, NotFound
from ..evidence.gates import Outcome
from ..pilot import report as pilot_report
from ..pilot import stub
from ..pilot.difference import TURN, Difference, difference
from ..pilot.record import Record
from ..pilot.verdict import Verdict
from ..scorecard.card import Card
from ..scorecard.text import as_text
from ..scorecard.verdict import Size, extremes
from ..slo import pages, record, report, targets
from ..slo.gate import label
from .plan import Round
from .process import Ended

_MOST_BYTES = 64 << 20
_WORDS = {"pass": Outcome.PASS, "fail": Outcome.FAIL}
_VERDICTS = {Verdict.GO: Outcome.PASS, Verdict.NO_GO: Outcome.FAIL, Verdict.WATCH: Outcome.INCONCLUSIVE}
_SIZES = {Size.KEEP_SMALL: Outcome.PASS, Size.UNDECIDED: Outcome.INCONCLUSIVE}


@dataclass(frozen=True)
class Figure:
    """A line of a part. `file`: of results, which has it; `outcome` None: it is not judged."""

    name: str
    shown: str
    file: Path
    outcome: Outcome | None = None
    why: str = ""


@dataclass(frozen=True)
class Part:
    """A part of a round. `said`: its verdict in its own words; `links`: titles and files of its own pages."""

    title: str
    outcome: Outcome
    said: str
    why: str
    figures: tuple[Figure, ...] = ()
    links: tuple[tuple[str, Path], ...] = ()
    ended: tuple[Ended, ...] = ()
    seconds: float = 0.0

    @classmethod
    def without(cls, title: str, why: str) -> Part:
        """A part that has no results."""
        outcome = Outcome.INCONCLUSIVE
        return cls(title, outcome, label(outcome), why)

    def after(self, ended: Sequence[Ended], seconds: float) -> Part:
        """This part, with the commands that it ran and the time that it took."""
        return replace(self, ended=tuple(ended), seconds=seconds)


def worst(outcomes: Collection[Outcome]) -> Outcome:
    """Fail if one fails, else inconclusive if one is, or if there is none."""
    if not outcomes:
        return Outcome.INCONCLUSIVE
    return next((o for o in (Outcome.FAIL, Outcome.INCONCLUSIVE) if o in outcomes), Outcome.PASS)


def service_levels(title: str, of: Round, run: record.Run) -> Part:
    """The scenarios of this round, with all runs of earlier ones, against their targets. Writes slo.html and slo.md."""
    out = of.folder / "slo"
    document = report.collect(record.read_all(of.bench), targets.load(of.slo or None), of.bench, out)
    markdown, page = pages.write(out, document)
    figures = []
    for one in document["scenarios"]:
        if one["name"] in run.cases:
            shown = {metric["metric"]: metric["shown"] for metric in one["metrics"]}
            told = (
                f"p50 {shown['latency_p50_ms']}, p95 {shown['latency_p95_ms']}, first token p95"
                f" {shown['first_token_ms']}, {shown['tokens_per_second']}"
            )
            off = [metric for metric in one["metrics"] if metric["outcome"] == one["outcome"] != Outcome.PASS]
            why = "; ".join(f"{metric['title']}: {metric['message']}" for metric in off[:1])
            figures.append(Figure(one["name"], told, of.bench / run.file, Outcome(one["outcome"]), why))
    links = (("service levels", page), ("as Markdown", markdown))
    outcome = Outcome(document["outcome"])
    why = f"of the metrics {document['summary']}{_first(figures, outcome)}"
    return Part(title, outcome, document["label"], why, tuple(figures), links)


def _first(figures: Sequence[Figure], outcome: Outcome) -> str:
    """The first figure that makes a part no pass."""
    if outcome is Outcome.PASS:
        return ""
    return next((f"; {each.name}: {each.why}" for each in figures if each.outcome is outcome and each.why), "")


def new_run(of: Round, known: Collection[str]) -> record.Run:
    """The run that was not known before. Raises NotFound if there is none."""
    found = [run for run in record.read_all(of.bench) if run.file not in known]
    if not found:
        raise NotFound(str(of.bench), "has no run of this round")
    return found[-1]


def known_runs(of: Round) -> frozenset[str]:
    """Names of the runs that are there."""
    return frozenset(path.name for path in of.bench.glob("scenarios-*.json"))


def pilot(title: str, of: Round) -> Part:
    """The live pilot, and its difference from the stub's. Writes diff.json."""
    path = stub.newest(of.pilot)
    live = Record.load(path)
    s, decision = pilot_report.summary(live), live.decision
    figures = [
        Figure(
            found.name,
            f"{found.over} of {found.n} over {found.limit:g}" + _quantiles(s.get(found.name)),
            path,
            found.outcome,
            "" if found.outcome is Outcome.PASS else found.said,
        )
        for found in decision.findings
    ]
    split = ", ".join(f"{name} {ms:.1f} ms" for name, ms in s["split_ms"].items())
    figures.append(Figure("of a turn", split, path))
    links = [("live", path.with_suffix(".md"))]
    verdicts = [_VERDICTS[decision.verdict]]
    try:
        other = _stub(of.pilot)
        added = _added(of, difference(Record.load(other), live))
    except Error as error:
        added = [Figure("against the stub", "not known", path, Outcome.INCONCLUSIVE, str(error))]
    else:
        links += [("stub", other.with_suffix(".md")), ("difference", of.pilot / "diff.json")]
    verdicts += [figure.outcome for figure in added if figure.outcome]
    why = "; ".join([*decision.causes, *(figure.why for figure in added if figure.why)])
    outcome = worst(verdicts)
    return Part(title, outcome, str(decision.verdict), why or "all limits are kept", (*figures, *added), tuple(links))


def _stub(folder: Path) -> Path:
    found = [path for path in sorted(folder.glob("perf_report_*.json")) if Record.load(path).mode == "stub"]
    if not found:
        raise NotFound(str(folder), "has no record of the stub")
    return found[-1]


def _added(of: Round, found: Difference) -> list[Figure]:
    path = files.write(of.pilot / "diff.json", dump(found.as_dict()))
    turn = next(each for each in found.added if each.name == TURN)
    parts = ", ".join(f"{name} {ms:+.1f} ms" for name, ms in turn.parts.items())
    equal = found.n_equal_answers == found.n_answers and found.n_equal_digests == found.n_digests
    return [
        Figure("live beside the stub", f"{turn.added_ms:+.1f} ms a turn: {parts}", path),
        Figure(
            "the stub's answers",
            f"{found.n_equal_answers} of {found.n_answers} equal, {found.n_equal_digests} of {found.n_digests} digests",
            path,
            Outcome.PASS if equal else Outcome.FAIL,
            "; ".join(found.notes) if not equal else "",
        ),
    ]


def _quantiles(found: object) -> str:
    return f", p50 {found['p50']:.1f} ms, p95 {found['p95']:.1f} ms" if isinstance(found, dict) else ""


def load(title: str, of: Round) -> Part:
    """The thresholds of the flows."""
    paths = [path for path in of.load.glob("*.json") if path.name[0].isdigit()]
    if not paths:
        raise NotFound(str(of.load), "has no summary of a load run")
    path = paths[0]
    found = Fields(str(path), parse(str(path), files.read(path, _MOST_BYTES)))
    figures = []
    for name, flow in found.sub("flows").subs():
        good, come = flow.integer("good"), flow.integer("come")
        p95 = flow.sub("quantiles").sub("iteration_duration").sub("p(95)").number_or_none("value")
        took = "p95 never" if p95 is None else f"p95 {p95:,.1f} ms"
        figures.append(Figure(name, f"{good} of {come} good, {flow.number('goodput'):.2f} a second, {took}", path))
    for one in found.items("thresholds"):
        value = one.number_or_none("observed")
        verdict = _WORDS.get(one.text("verdict"), Outcome.INCONCLUSIVE)
        name = f"{one.text('flow')} {one.text('metric')} {one.text('limit')}"
        figures.append(Figure(name, "never" if value is None else f"{value:,.4g}", path, verdict, one.text("why")))
    said = found.text("verdict")
    n = Counter(figure.outcome for figure in figures if figure.outcome)
    counted = f"{n[Outcome.PASS]} pass, {n[Outcome.FAIL]} fail, {n[Outcome.INCONCLUSIVE]} undecided"
    outcome = _WORDS.get(said, Outcome.INCONCLUSIVE)
    why = f"of the thresholds {counted}{_first(figures, outcome)}"
    return Part(title, outcome, said, why, tuple(figures), (("summary", path), ("plan", of.load / "plan.toml")))


def scorecard(title: str, of: Round) -> Part:
    """Quality and speed of the model."""
    card = Card.load(of.card)
    decision = card.decision
    text = files.write(of.card.with_suffix(".txt"), as_text(card))
    told = {name: f"{share.passed} of {share.n} checks" for name, share in card.shares.items()}
    told |= {"latency": f"{extremes(card.latency_s) or 'not known'} s to the first token"}
    told |= {"tokens": f"{extremes(card.tokens_s) or 'not known'} a second"}
    reasons = dict(zip(decision.outcomes, decision.reasons, strict=True))
    figures = [Figure(name, shown, of.card, decision.outcomes[name], reasons[name]) for name, shown in told.items()]
    outcome = _SIZES.get(decision.size, Outcome.FAIL)
    off = [reasons[name] for name, each in decision.outcomes.items() if each is not Outcome.PASS]
    why = "; ".join(off) or "all parts of the rule pass"
    return Part(title, outcome, str(decision.size), why, tuple(figures), (("card", text),))
