"""What a round measures, and how much of it: commands that a user can run as well."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import files
from ..pilot import stub

KEY_ENV = "FLYBALL_ROUND_KEY"  # has the API key of the server that is put under load
_PLAN = Path(__file__).parents[1] / "data" / "console.toml"
_TIMES = re.compile(r"\b(seconds|iterations) = (\d+)")


@dataclass(frozen=True)
class Sizes:
    """How much a round measures. `load`: of the times of the console's flows; `verified`: receipts of each part."""

    seconds: float
    iterations: int
    warmup: int
    turns: int
    load: float
    seeds: int
    verified: int

    @classmethod
    def of(cls, minutes: int) -> Sizes:
        """Of a round of so many minutes: from ten on, enough to decide what takes 59 samples."""
        return cls(60 * minutes, 6 * minutes, 2, 6 * minutes, min(1.0, 0.08 * minutes), max(1, minutes // 10), minutes)


QUICK = Sizes(60, 1, 0, 2, 0.1, 1, 1)  # decides nothing


@dataclass(frozen=True)
class Step:
    """A command of a round. `share`: of the round's time that it is expected to take; a tenth is left for receipts."""

    name: str
    title: str
    words: tuple[str, ...]
    share: float

    @property
    def command(self) -> str:
        """As one types it."""
        return " ".join(("flyball", *self.words))


@dataclass(frozen=True)
class Round:
    """A round and its files. `model`: a GGUF file, "": the bundled one; `slo`: a file of service levels, or ""."""

    folder: Path
    sizes: Sizes
    model: str = ""
    slo: str = ""

    @property
    def bench(self) -> Path:
        """Runs of the scenarios of all rounds beside this one, so that each is compared with the earlier ones."""
        return self.folder.parent / "bench"

    @property
    def pilot(self) -> Path:
        """Records of the pilot."""
        return self.folder / "pilot"

    @property
    def load(self) -> Path:
        """Plan, summary, and the store of the server."""
        return self.folder / "load"

    @property
    def card(self) -> Path:
        """The scorecard."""
        return self.folder / "scorecard" / "card.json"

    def scenarios(self) -> Step:
        """The scenarios of service levels."""
        counts = ("--iter", str(self.sizes.iterations), "--warmup", str(self.sizes.warmup))
        more = (*_flag("--model", self.model), *_flag("--slo", self.slo))
        words = ("bench", "scenario", "--all", *counts, "--out", str(self.bench), *more)
        return Step("scenarios", "scenarios", words, 0.3)

    def live(self) -> Step:
        """The pilot against the model."""
        words = ("pilot", "run", "--live", "--reset-state", *self._of_pilot, *_word(self.model))
        return Step("live", "pilot, live", words, 0.3)

    def stub(self) -> Step:
        """The pilot against the stub. Raises NotFound without a record of the live one."""
        record = stub.newest(self.pilot)
        return Step("stub", "pilot, stub", ("pilot", "run", "--stub", *self._of_pilot, "--record", str(record)), 0.05)

    def under_load(self, url: str) -> Step:
        """The console's flows against a server, shortened; writes their plan."""
        text = shortened(_PLAN.read_text(encoding="utf-8"), self.sizes.load)
        plan = files.write(self.load / "plan.toml", text)
        where = (
            "--url",
            url,
            "--key-env",
            KEY_ENV,
            "--out",
            str(self.load),
            "--alerts",
            str(self.load / "alerts.jsonl"),
        )
        return Step("load", "load", ("load", "run", str(plan), *where), 0.1)

    def scorecard(self) -> Step:
        """The scorecard of the model."""
        out = ("--out", str(self.card), "--receipts", str(self.card.parent / "receipts"), "--markdown")
        words = ("scorecard", *_word(self.model), "--seeds", str(self.sizes.seeds), *out)
        return Step("scorecard", "scorecard", words, 0.15)

    @property
    def _of_pilot(self) -> Sequence[str]:
        return (
            "--turns",
            str(self.sizes.turns),
            "--random-choice",
            "--tag",
            "evidence",
            "--report-dir",
            str(self.pilot),
        )


def shortened(plan: str, share: float) -> str:
    """A plan of load whose times and iterations are this share of what they were, and at least 1."""
    return _TIMES.sub(lambda found: f"{found[1]} = {max(1, round(share * int(found[2])))}", plan)


def _word(value: str) -> Sequence[str]:
    return (value,) if value else ()


def _flag(name: str, value: str) -> Sequence[str]:
    return (name, value) if value else ()
