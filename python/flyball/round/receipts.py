"""The receipts of a round's answers: how many are there and whole, and a sample that is computed again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..engine.model import Model, demo_model_path
from ..engine.receipt import Receipt
from ..engine.verify import report_of
from ..errors import Error
from ..evidence.gates import Outcome
from ..pilot import stub
from ..pilot.record import RECEIPTS, Record
from ..scorecard.card import Card
from ..slo import record
from ..store import Store
from .parts import Figure, Part, worst
from .plan import Round

_ID = 16  # digits of a digest that tell answers apart
_MOST_TOLD = 3
_ALWAYS = 2**53 - 1  # milliseconds since 1970: the end of a span without one


@dataclass(frozen=True)
class Answers:
    """Of a part: the first digits of each answer's digest, None: it has no receipt; and the folder of the receipts."""

    part: str
    ids: tuple[str | None, ...]
    folder: Path


def of_scenarios(run: record.Run, of: Round) -> Answers:
    """Of all answers of an iteration of each scenario; those of the others are equal."""
    ids = tuple(Path(name).stem for case in run.cases.values() for name in case.receipts)
    return Answers("scenarios", ids, of.bench / record.RECEIPTS)


def of_pilot(of: Round) -> Answers:
    """Of all calls of the live pilot."""
    calls = Record.load(stub.newest(of.pilot)).calls.values()
    return Answers("pilot", tuple(call.digest and call.digest[:_ID] for call in calls), of.pilot / RECEIPTS)


def of_load(of: Round) -> Answers:
    """Of all answers that the server under load gave, whose receipts its store has: they are written as files."""
    folder = of.load / "receipts"
    with Store.open(store_of(of)) as store:
        project = store.project()
        for stored in project.receipts.between(0, _ALWAYS):
            receipt = Receipt(stored.json)
            receipt.save(folder / f"{receipt.digest[:_ID]}.json")
        done = list(project.requests.between(0, _ALWAYS, ("done",)))
    return Answers("load", tuple(each.digest and each.digest[:_ID] for each in done), folder)


def of_scorecard(of: Round) -> Answers:
    """Of all answers of the card."""
    card = Card.load(of.card)
    digests = [*(timed.digest for timed in card.timed), *(answer.digest for answer in card.answers)]
    return Answers("scorecard", tuple(digest and digest[:_ID] for digest in digests), of.card.parent / "receipts")


def store_of(of: Round) -> Path:
    """The store of the server under load."""
    return of.load / "store.sqlite"


def check(title: str, of: Round, found: Sequence[Answers], tell: Callable[[float], object]) -> Part:
    """Whether each answer has a whole receipt, and whether those of a sample of each part are computed again alike."""
    figures = []
    with Model.load(of.model or demo_model_path(), prefix_cache_mb=0) as model:
        for i, answers in enumerate(found):
            tell(i / len(found))
            figures.append(_checked(answers, model, of.sizes.verified))
    outcome = worst([figure.outcome for figure in figures if figure.outcome])
    why = "; ".join(f"{figure.name}: {figure.why}" for figure in figures if figure.why)
    said = {Outcome.PASS: "verified", Outcome.FAIL: "not verified"}.get(outcome, "undecided")
    return Part(
        title, outcome, said, why or "; ".join(f"{each.name}: {each.shown}" for each in figures), tuple(figures)
    )


def sample(ids: Sequence[str], n: int) -> list[str]:
    """So many of them, evenly spread."""
    n = min(n, len(ids))
    return [ids[i * len(ids) // n] for i in range(n)]


def _checked(answers: Answers, model: Model, n_verified: int) -> Figure:
    whole, wrong = _whole(answers)
    tried = sample(sorted(whole), n_verified)
    unknown = []
    n_good = 0
    for name in tried:
        try:
            report = report_of(whole[name], model)
        except Error as error:
            unknown.append(f"{name}: {error}")
            continue
        n_good += report["verified"]
        if not report["verified"]:
            wrong.append(f"{name}: {report['message']}")
    n_whole = sum(each in whole for each in answers.ids)
    shown = f"{n_whole} of {len(answers.ids)} answers have a receipt, {n_good} of a sample of {len(tried)} verified"
    if not tried and not wrong:
        unknown.append("there are no answers")
    outcome = Outcome.FAIL if wrong else Outcome.INCONCLUSIVE if unknown else Outcome.PASS
    return Figure(answers.part, shown, answers.folder, outcome, "; ".join([*wrong, *unknown][:_MOST_TOLD]))


def _whole(answers: Answers) -> tuple[dict[str, Receipt], list[str]]:
    """The receipts of the answers, by the first digits of their digests, and what is wrong with the others."""
    found, wrong = {}, []
    for path in sorted(answers.folder.glob("*.json")):
        try:
            receipt = Receipt.load(path)
        except Error as error:
            wrong.append(str(error))
        else:
            found[receipt.digest[:_ID]] = receipt
    wanted = {each for each in answers.ids if each}
    wrong += [f"no file of {answers.folder} is the receipt of {name}" for name in sorted(wanted - found.keys())]
    if n_without := sum(each is None for each in answers.ids):
        wrong.append(f"{n_without} answers have no receipt")
    return {name: receipt for name, receipt in found.items() if name in wanted}, wrong
