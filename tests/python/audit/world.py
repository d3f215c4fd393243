"""Keys with a clock of their own, receipts of an earlier version, and a journal that records their signatures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from flyball import audit
from flyball.audit.primitives import time_text
from flyball.journal import Journal

GOLDEN = Path(__file__).parents[2] / "golden" / "v0.1" / "receipts"
SERVER = "flyball.example/one"
FIRST, LAST = "2000-01-01T00:00:00.000Z", "2100-01-01T00:00:00.000Z"


@dataclass
class Clock:
    """Nanoseconds since 1970, as a test sets them."""

    ns: int = 1_800_000_000_000_000_000

    def __call__(self) -> int:
        return self.ns

    def tick(self, seconds: float = 1) -> str:
        """Goes on; returns the time as a text."""
        self.ns += int(seconds * 1e9)
        return time_text(self.ns)


@dataclass
class Server:
    """What a server has: keys, a journal, and stored records."""

    folder: Path
    clock: Clock
    keys: audit.Keys
    records: list[audit.Record] = field(default_factory=list)

    @property
    def journal(self) -> Path:
        return self.folder / "server.jsonl"

    def answer(self, *names: str) -> None:
        """Sign and record golden receipts."""
        with Journal(self.journal) as journal:
            signer = audit.Signer(self.keys, SERVER, journal)
            for name in names:
                self.clock.tick()
                text = (GOLDEN / f"{name}.json").read_text().strip()
                signed = signer.receipt(f"r-{name}", text)
                self.records.append(audit.Record(f"r-{name}", signed.statement["issued"], text, signed.json))

    def export(self, name: str = "bundle.zip", **options: bool | list[audit.Note]) -> Path:
        """A bundle of all."""
        out = self.folder / name
        audit.export(out, FIRST, LAST, self.records, self.journal, self.keys, SERVER, **options)  # type: ignore[arg-type]
        return out


def golden(name: str = "greedy") -> str:
    """A receipt's JSON text."""
    return (GOLDEN / f"{name}.json").read_text().strip()
