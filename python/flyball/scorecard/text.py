"""A card as text to copy: the seed's form, and Markdown. Names of models are untrusted."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence

from .card import Card
from .verdict import figure

_LABELS = {"follow": "follow", "coherent": "coherent", "grounded": "no-hallucination"}


def as_text(card: Card) -> str:
    """The card in five lines, and the reasons of its verdict."""
    about = card.subject
    asked = f"{len(card.passed)} checks, {card.n_seeds} seed{'s' if card.n_seeds > 1 else ''}"
    quality = "  ".join(f"{_LABELS[name]} {share.passed}/{share.n}" for name, share in card.shares.items())
    lines = [
        f"Model: {_line(about.name)}  Quant: {_line(about.quantization) or '-'}"
        f"  Hardware: {_line(card.hardware) or '-'}",
        f"Warm start latency (s): {_middle([t.seconds for t in card.of_kind('warm')])}"
        f"  Real prompt latency (s): {_middle(card.latency_s)} to the first token,"
        f" {_middle([t.seconds for t in card.of_kind('real')])} in all  tok/s: {_middle(card.tokens_s)}",
        f"Peak RSS (MB): {_peak(card)}  CPU avg %: {_processor(card)}",
        f"Quality ({asked}): {quality}",
        f"Verdict: {card.decision.size}",
    ]
    lines += [f"  {reason}" for reason in card.decision.reasons]
    lines += [f"  {_line(about.note)}"] if about.note else []
    return "\n".join([*lines, f"  {evidence(card)}"]) + "\n"


def as_markdown(card: Card) -> str:
    """The card as two tables."""
    about, decision = card.subject, card.decision
    head = [
        ("model", about.name),
        ("quantization", about.quantization or "-"),
        ("hardware", card.hardware or "-"),
        ("warm start latency", f"{_middle([t.seconds for t in card.of_kind('warm')])} s"),
        ("real prompt latency", f"{_middle(card.latency_s)} s to the first token"),
        ("tokens per second", _middle(card.tokens_s)),
        ("peak memory", f"{_peak(card)} MB"),
        ("average processor", f"{_processor(card)} %"),
        ("evidence", evidence(card)),
    ]
    rows = []
    for name, share in card.shares.items():
        lower, upper = share.bounds
        passed = f"{share.passed} of {share.n}"
        rows.append((_LABELS[name], passed, f"{100 * lower:.0f} to {100 * upper:.0f} %", str(decision.outcomes[name])))
    return (
        f"## Scorecard: {decision.size}\n\n{_table(('', ''), head)}\n"
        f"{_table(('quality', 'checks passed', '95 % interval', 'outcome'), rows)}"
    )


def evidence(card: Card) -> str:
    """How many answers have a receipt."""
    digests = [*(timed.digest for timed in card.timed), *(answer.digest for answer in card.answers)]
    n = sum(digest is not None for digest in digests)
    return f"{n} of {len(digests)} answers have a receipt"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_cell(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|&#~])", r"\\\1", _line(text))


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:200]


def _middle(values: Sequence[float]) -> str:
    return figure(statistics.median(values)) if values else "-"


def _peak(card: Card) -> str:
    return "-" if card.peak_bytes is None else f"{card.peak_bytes / 1e6:.0f}"


def _processor(card: Card) -> str:
    return "-" if card.processor_percent is None else f"{card.processor_percent:.0f}"
