"""A round as one document, and its pages: index.html, self-contained, for light and dark, and index.md."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import __version__, files
from ..bench.fields import SCHEMA, dump
from ..bench.pack import Build, machine
from ..engine.model import demo_model_path
from ..evidence.gates import Outcome
from ..reliability.pages.report import clip, date, escaped, markdown_table
from ..slo.gate import label
from ..slo.pages import template
from .parts import Figure, Part, worst
from .plan import Round

Document = dict[str, Any]
FILES = ("index.html", "index.md", "round.json")
_MOST_WHY = 500


def write(of: Round, document: Document) -> Path:
    """Write the document and both pages; gives the HTML page."""
    page, text, data = (of.folder / name for name in FILES)
    files.write(data, dump(document))
    files.write(text, markdown(document))
    return files.write(page, template("round.html").render(d=document) + "\n")


def collect(of: Round, found: Sequence[Part], started: float, seconds: float) -> Document:
    """Everything that the pages show. Paths are relative to the round's folder."""
    outcome = worst([part.outcome for part in found])
    build = Build.here()
    results = sorted({figure.file for part in found for figure in part.figures if figure.file.is_file()})
    return {
        "schema": SCHEMA,
        "kind": "round",
        "outcome": str(outcome),
        "label": label(outcome),
        "date": date(started),
        "seconds": round(seconds, 1),
        "took": duration(seconds),
        "model": Path(of.model or demo_model_path()).name,
        "machine": machine()["name"],
        "build": f"{__version__} at {build.commit[:12]}" if build.commit else __version__,
        "parts": [_part(of, part) for part in found],
        "files": [{"file": _relative(of, path), "sha256": _sha256(path)} for path in results],
    }


def duration(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def _part(of: Round, part: Part) -> Document:
    return {
        "title": part.title,
        "outcome": str(part.outcome),
        "said": part.said,
        "why": clip(part.why, _MOST_WHY),
        "took": duration(part.seconds),
        "figures": [_figure(of, figure) for figure in part.figures],
        "links": [{"title": title, "file": _relative(of, path)} for title, path in part.links if path.exists()],
        "commands": [
            {
                "command": each.command,
                "code": each.code,
                "took": duration(each.seconds),
                "output": _relative(of, each.output),
            }
            for each in part.ended
        ],
    }


def _figure(of: Round, figure: Figure) -> Document:
    return {
        "name": clip(figure.name, 80),
        "shown": clip(figure.shown),
        "outcome": None if figure.outcome is None else str(figure.outcome),
        "label": "" if figure.outcome is None else label(figure.outcome),
        "why": "" if figure.outcome is Outcome.PASS else clip(figure.why),
        "file": _relative(of, figure.file),
    }


def _relative(of: Round, path: Path) -> str:
    return Path(os.path.relpath(path, of.folder)).as_posix()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def markdown(document: Document) -> str:
    """As Markdown."""
    d = document
    head = [(p["title"], p["said"], p["why"], p["took"]) for p in d["parts"]]
    parts = [
        f"# Evidence: {d['label']}\n",
        f"{escaped(d['model'])} on {escaped(d['machine'])}, Flyball {escaped(d['build'])}. {d['date']}, took"
        f" {d['took']}.\n",
        markdown_table(("part", "verdict", "why", "took"), head, 3),
    ]
    for p in d["parts"]:
        parts.append(f"## {p['title']}: {escaped(p['said'])}\n")
        parts.append(f"{escaped(p['why'])}.\n")
        if p["figures"]:
            rows = [(f["name"], f["shown"], f["label"], f["why"], Path(f["file"]).name) for f in p["figures"]]
            parts.append(markdown_table(("figure", "value", "verdict", "why", "from"), rows, 5))
        linked = [
            *p["links"],
            *({"title": f"output of {i}", "file": c["output"]} for i, c in enumerate(p["commands"], 1)),
        ]
        if linked:
            parts.append("Pages: " + ", ".join(f"[{one['title']}]({one['file']})" for one in linked) + ".\n")
        parts += ["```\n" + "\n".join(c["command"] for c in p["commands"]) + "\n```\n"] if p["commands"] else []
    results = "".join(f"- [{escaped(one['file'])}]({one['file']}), SHA-256 {one['sha256']}\n" for one in d["files"])
    return "\n".join([*parts, "## Files of results\n", results])
