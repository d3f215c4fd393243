"""Helm's own library, in a process of its own: it brings Go's run-time, with its threads and signal handlers.

As a program it reads a list of [chart, values] as JSON, and writes for each {"lint": [...], "files": {path: text}}, or
{"error": text} where the chart cannot be rendered.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

NAME, NAMESPACE = "release", "there"
_SECONDS = 300


def rendered(*charts: tuple[Path, dict[str, Any]]) -> list[dict[str, Any]]:
    """Each chart with its values, as the program writes it; `documents`: the files' objects, or `error`."""
    given = json.dumps([(str(path), values) for path, values in charts])
    command = [sys.executable, __file__]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    for each in found:
        texts = [text for path, text in each.get("files", {}).items() if path.endswith(".yaml")]
        try:
            each["documents"] = [document for text in texts for document in yaml.safe_load_all(text) if document]
        except yaml.YAMLError as error:
            each["error"] = str(error)
    return found


def _rendered(path: str, values: dict[str, Any]) -> dict[str, Any]:
    import helm_python

    try:
        files = helm_python.Chart.load(path).render(values, name=NAME, namespace=NAMESPACE)
    except helm_python.HelmError as error:
        return {"error": str(error)}
    lint = helm_python.lint(path, values, strict=True, namespace=NAMESPACE)
    return {"lint": [message["error"] for message in lint["messages"] if message["severity"] > 1], "files": files}


if __name__ == "__main__":
    json.dump([_rendered(path, values) for path, values in json.load(sys.stdin)], sys.stdout)
