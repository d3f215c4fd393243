"""lm-eval over /v1/completions: choices scored by their log-probabilities, and answers, of tasks made here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

TASK = """
task: {name}
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}}}
test_split: test
output_type: {kind}
doc_to_text: "{{{{question}}}}"
doc_to_target: {target}
"""
CHOICES = 'doc_to_choice: "{{choices}}"\nmetric_list: [{metric: acc}]\n'
ANSWERS = 'generation_kwargs: {until: ["."], max_gen_toks: 8}\nmetric_list: [{metric: exact_match}]\n'
ROWS = [
    {"question": "Once upon a", "choices": [" time", " xylophone qqq"], "right": 0},
    {"question": "The sun is", "choices": [" zzkp 77 vv", " shining"], "right": 1},
    {"question": "2 + 3 =", "choices": [" 5", " the the the"], "right": 0},
]


def evaluated(url: str, folder: Path, task: str) -> dict[str, Any]:
    """What the program writes of a task."""
    model = f"model=flyball-demo,base_url={url}/v1/completions,num_concurrent=2,max_retries=1"
    command = [sys.executable, "-m", "lm_eval", "--model", "local-completions", "--model_args", model]
    command += ["--tasks", task, "--include_path", str(folder), "--output_path", str(folder / "out"), "--log_samples"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home"), "OPENAI_API_KEY": "none"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (found,) = (folder / "out").rglob("results_*.json")
    return {"results": json.loads(found.read_text())["results"][task], "samples": samples(folder)}


def samples(folder: Path) -> list[dict[str, Any]]:
    (found,) = (folder / "out").rglob("samples_*.jsonl")
    return [json.loads(line) for line in found.read_text().splitlines()]


def write(folder: Path, name: str, kind: str, target: str, rest: str) -> None:
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (folder / f"{name}.yaml").write_text(TASK.format(name=name, data=data, kind=kind, target=target) + rest)


def test_choices(url: str, tmp_path: Path) -> None:
    write(tmp_path, "choosing", "multiple_choice", "right", CHOICES)
    found = evaluated(url, tmp_path, "choosing")
    assert found["results"]["acc,none"] == 1.0
    for sample in found["samples"]:
        for (logprob, _), *_ in sample["resps"]:
            assert float(logprob) < 0


def test_answers(url: str, tmp_path: Path) -> None:
    write(tmp_path, "answering", "generate_until", "right", ANSWERS)
    for sample in evaluated(url, tmp_path, "answering")["samples"]:
        assert sample["resps"][0][0].strip()
