"""The report as Markdown and as one self-contained HTML page, for light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from .. import files
from ..reliability.pages.report import escaped, markdown_table
from .gate import METRICS
from .report import Document

FILES = ("slo.md", "slo.html")
_WIDTH, _HEIGHT, _EDGE = 320.0, 64.0, 6.0


def write(folder: Path, document: Document) -> list[Path]:
    """Write both pages."""
    return [files.write(folder / FILES[0], markdown(document)), files.write(folder / FILES[1], page(document))]


def markdown(document: Document) -> str:
    """As Markdown."""
    d = document
    link = f"{d['to_runs']}/"
    parts = [
        f"# Service levels: {d['label']}\n",
        f"{escaped(d['model'])} on {escaped(d['machine'])}, {d['threads']} threads, Flyball {escaped(d['build'])}."
        f" As of {d['date']}, {len(d['runs'])} runs. Targets: {escaped(d['levels'])}. {d['summary']}.\n",
        "## Scenarios\n",
        markdown_table(("scenario", "verdict", "p50", "p95", "first token", "speed", "memory", "p95 over baseline",
                        "first token over baseline", "budget"), [_row(one) for one in d["scenarios"]], 2),
    ]  # fmt: skip
    for one in d["scenarios"]:
        parts += [f"## {one['name']}: {one['label']}\n", f"{one['about']}.\n"]
        rows = [(m["title"], m["shown"], m["target_shown"], m["label"], m["message"]) for m in one["metrics"]]
        parts.append(markdown_table(("metric", "value", "target", "verdict", "why"), rows, 1))
        if one["budget"]:
            burns = [
                (b["kind"], b["windows"], f"{b['limit']:g}", b["shown"], b["state"]) for b in one["budget"]["burns"]
            ]
            told = (
                f"{one['budget']['good']} of {one['budget']['all']} iterations are good, {one['budget']['left_shown']}"
            )
            parts.append(f"Error budget at {d['objective']}, 30 days: {told}.\n")
            parts.append(markdown_table(("alert", "windows", "from", "burn rates", "state"), burns, 5))
            runs = ", ".join(f"[{p['run']}]({link}{p['run']})" for p in one["p95"][-10:])
            receipts = ", ".join(f"[{name}]({link}{name})" for name in one["receipts"])
            parts.append(f"Newest runs: {runs}. {one['receipts_shown']}: {receipts}.\n")
            parts += [f"{escaped(each)}\n" for each in one["broken"]]
    parts += ["## Runs\n", markdown_table(("file", "date", "build", "SHA-256"), [
        (run["file"], run["date"], run["build"], run["sha256"]) for run in d["runs"]], 4)]  # fmt: skip
    return "\n".join(parts)


def _row(one: Document) -> list[str]:
    shown = {metric["metric"]: metric["shown"] for metric in one["metrics"]}
    budget = one["budget"]["left_shown"] if one["budget"] else "–"
    return [one["name"], one["label"], *(shown.get(name, "–") for name in METRICS), budget]


@cache
def template(name: str) -> jinja2.Template:
    """A page of the package's data, which may include others of them."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parents[1] / "data"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def page(document: Document) -> str:
    """As HTML."""
    pictures = {one["name"]: picture(one["p95"], one["target"]) for one in document["scenarios"] if one["p95"]}
    return template("slo.html").render(d=document, pictures=pictures) + "\n"


def picture(points: Sequence[dict[str, Any]], target: float) -> Document:
    """Positions of a line of p95 over runs, on a logarithmic axis; the target is a rule if it is near."""
    values = [point["ms"] for point in points]
    near = target < 3 * max(values)
    low, high = math.log(min(values) / 1.05), math.log(max([*values, *([target] if near else [])]) * 1.05)

    def y(value: float) -> float:
        return round(_HEIGHT - _EDGE - (_HEIGHT - 2 * _EDGE) * (math.log(value) - low) / (high - low), 1)

    step = (_WIDTH - 2 * _EDGE) / max(1, len(values) - 1)
    placed = [
        {"x": round(_EDGE + step * i, 1), "y": y(value), "run": point["run"], "shown": f"{value:,.1f} ms"}
        for i, (value, point) in enumerate(zip(values, points, strict=True))
    ]
    line = " ".join(f"{'L' if i else 'M'}{p['x']} {p['y']}" for i, p in enumerate(placed))
    rule = y(target) if near else None
    return {"width": _WIDTH, "height": _HEIGHT, "points": placed, "line": line, "target": rule}
