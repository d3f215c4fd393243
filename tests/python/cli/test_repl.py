"""The REPL program as a person uses it: scripts, pipes, Ctrl-C, arguments; and its receipts checked from outside."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import flyball
from flyball import cli
from flyball.engine.receipt import Receipt
from flyball.store import Store

ROOT = Path(__file__).parents[3]


def program() -> str:
    beside = Path(sys.executable).parent / "flyball-repl"
    found = str(beside) if beside.exists() else shutil.which("flyball-repl")
    built = ROOT / "build/release/flyball-repl"
    if found is None and built.exists():
        return str(built)
    assert found is not None, "flyball-repl is not installed"
    return found


def run_script(folder: Path, lines: Sequence[str], *arguments: str | Path) -> tuple[int, str]:
    script = folder / "script.txt"
    script.write_text("".join(line + "\n" for line in lines))
    command = [program(), *map(str, arguments), "--script", str(script)]
    done = subprocess.run(command, capture_output=True, timeout=300, check=False)
    return done.returncode, done.stdout.decode() + done.stderr.decode()


def test_script_on_the_bundled_model(tmp_path: Path) -> None:
    receipt = tmp_path / "receipt.json"
    code, out = run_script(
        tmp_path,
        [
            "/max_tokens 12",
            "Tell me a story.",
            f"/receipt {receipt}",
            f"/verify {receipt}",
            "/cpu",
            "/metrics",
            "/quit",
            "never",
        ],
    )
    assert code == 0, out
    assert "demonstration model" in out
    assert re.search(
        r"\[12 tokens, \d+ cycles/token, [\d.]+ tok/s, first after \d+ ms, max_tokens, digest [0-9a-f]{12}\]", out
    )
    assert "verified: the same answer: 12 positions" in out
    assert "never" not in out
    metrics = json.loads(next(line for line in out.splitlines() if line.startswith('{"session"')))
    assert metrics["last"]["decode"]["tokens"] == 11
    assert metrics["session"]["startup"]["model_prepare_ms"] > 0
    assert flyball.verify(receipt)


def test_feedback_of_the_repl_is_read(demo: flyball.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was judged there has the digest that it has everywhere."""
    monkeypatch.chdir(tmp_path)
    receipt = tmp_path / "receipt.json"
    script = ["/max_tokens 12", "What is 2 + 3?", f"/receipt {receipt}", "/correct 2 + 3 = 5.", "Why?", "/good"]
    code, out = run_script(tmp_path, script)
    assert code == 0
    assert out.count("kept in feedback.jsonl") == 2
    words = ["--set", f"serve.store={tmp_path / 'store.sqlite'}"]
    assert cli.main(["feedback", "import", "feedback.jsonl", *words]) == 0
    with Store.open(tmp_path / "store.sqlite") as store:
        votes = list(store.project().feedback.between(0, 1 << 60))
        examples = store.project().examples.all()
    assert {vote.source for vote in votes} == {"repl"}
    (bad,) = [vote for vote in votes if vote.rating == "bad"]
    assert (bad.answer_id, bad.correction) == (Receipt.load(receipt).digest, "2 + 3 = 5.")
    assert json.loads(bad.question or "") == [{"role": "user", "content": "What is 2 + 3?"}]
    assert "2 + 3 = 5." in [example.answer for example in examples]


def test_a_receipt_with_a_constraint_is_not_for_it(demo: flyball.Model, tmp_path: Path) -> None:
    receipt = demo.generate("Once upon a time", 4, grammar="root ::= [a-z]*").receipt.save(tmp_path / "receipt.json")
    code, out = run_script(tmp_path, [f"/verify {receipt}", "/quit"])
    assert code != 0
    assert re.search(
        r"constraint: is 'gbnf', which only 'llguidance [\d.]+' in Python can apply: use flyball verify", out
    )


def digest_by_definition(receipt: dict[str, Any]) -> str:
    """The layout of docs/receipts.md, written a second time."""

    def number(value: int) -> bytes:
        return struct.pack("<Q", value % 2**64)

    def real(value: float | str) -> bytes:
        return struct.pack("<fI", float(value), 0)

    def text(value: str) -> bytes:
        encoded = value.encode()
        return number(len(encoded)) + encoded

    sampler, limits = receipt["sampler"], receipt["limits"]
    version = receipt["schema_version"]
    out = text(f"flyball answer {version}") + bytes.fromhex(receipt["model"]["fingerprint"])
    out += number(receipt["settings"]["context"]) + text(receipt["settings"]["cache_type"]) + number(0)
    out += real(sampler["temperature"]) + number(sampler["top_k"]) + real(sampler["top_p"]) + real(sampler["min_p"])
    out += real(sampler["repeat_penalty"]) + number(sampler["repeat_window"]) + number(sampler["no_repeat_ngram"])
    out += number(sampler["seed"]) + number(sampler["sequence"]) + number(len(sampler["logit_bias"]))
    for token, bias in sampler["logit_bias"]:
        out += number(token) + real(bias)
    if version >= 2:
        out += real(sampler["presence_penalty"]) + real(sampler["frequency_penalty"])
        out += text(sampler["logits_processor"])
    out += number(limits["max_tokens"]) + number(limits["ignore_eos"]) + number(len(limits["stops"]))
    for stop in limits["stops"]:
        out += text(stop)
    if version >= 2:
        out += number(len(limits["stop_tokens"])) + b"".join(map(number, limits["stop_tokens"]))
    if version >= 3:
        out += b"".join(text(receipt["constraint"][name]) for name in ("kind", "library", "text"))
    out += number(0) + number(len(receipt["prompt_tokens"]))
    for token in receipt["prompt_tokens"]:
        out += number(token)
    out += number(len(receipt["tokens"]))
    for token, logits in zip(receipt["tokens"], receipt["logits_hashes"], strict=True):
        out += number(token) + number(int(logits[16:], 16)) + number(int(logits[:16], 16))
    out += text(receipt["stop"]["reason"])
    return hashlib.sha256(out).hexdigest()


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"presence_penalty": 0.5, "frequency_penalty": -0.1},
        {"stop_token_ids": [7, 9]},
        {"logits_processor": lambda *_: None},
        {"grammar": 'root ::= "é" [a-z]*'},
    ],
)
def test_digest_follows_from_the_receipt(demo: flyball.Model, more: dict[str, Any]) -> None:
    settings: dict[str, Any] = {
        "seed": 2**63 + 5,
        "temperature": 1.3,
        "logit_bias": {7: float("-inf"), 9: 0.1},
        "stop": ["é\n"],
    }
    result = demo.generate("Once upon a time", 10, **settings, **more)
    receipt = json.loads(result.receipt.json)
    assert receipt["digest"] == digest_by_definition(receipt)


def test_one_answer_in_python_and_in_the_repl(demo: flyball.Model, tmp_path: Path) -> None:
    code, out = run_script(
        tmp_path, ["/raw on", "/max_tokens 16", "/seed 11", "Once upon a time", "/quit"], flyball.demo_model_path()
    )
    assert code == 0, out
    result = demo.generate("Once upon a time", 16, seed=11)
    shown = re.search(r"digest ([0-9a-f]{12})", out)
    assert shown
    assert result.digest.startswith(shown[1])


def test_drafts_of_a_draft_model_are_counted(tmp_path: Path) -> None:
    draft = str(flyball.demo_model_path())
    arguments = ("--speculate", "always", "--draft", draft, "--decode-threads", "1", "--prefix-cache-mb", "8")
    lines = [
        "/temp 0",
        "/max_tokens 30",
        "Tell me a story.",
        "/metrics",
        "/clear",
        "/speculate off",
        "Tell me a story.",
    ]
    code, out = run_script(tmp_path, lines, *arguments)
    assert code == 0, out
    assert f"speculate always, draft tokens from {draft}" in out
    assert f"speculate off, not used: {draft}" in out
    digests = re.findall(r"digest ([0-9a-f]{12})", out)
    assert digests[0] == digests[1]
    right, drafted = map(int, re.findall(r", (\d+) of (\d+) draft tokens accepted, ", out)[0])
    metrics = json.loads(next(line for line in out.splitlines() if line.startswith('{"session"')))
    counts = metrics["last"]["speculation"]
    assert (counts["accepted"], counts["drafted"]) == (right, drafted)
    assert right > 20
    assert metrics["prefix_cache"]["capacity_bytes"] == 8 << 20
    code, out = run_script(tmp_path, ["/max_tokens 2", "Hello"], "--draft", str(tmp_path / "none.gguf"))
    assert code == 1
    assert "none.gguf" in out
    assert "digest" in out


def test_errors_in_a_script_make_exit_code_1(tmp_path: Path) -> None:
    code, out = run_script(tmp_path, ["/temp 1000", "/quit"])
    assert code == 1
    assert "from 0 (greedy) to 100" in out


@pytest.mark.parametrize(
    ("content", "cause"),
    [(None, "not found"), (b"", "0 bytes"), (b"GGUF", "corrupt"), (b"#!/bin/sh\n" * 100, "corrupt")],
    ids=["absent", "empty", "torn", "other"],
)
def test_model_problems_have_cause_hint_and_fallback(tmp_path: Path, content: bytes | None, cause: str) -> None:
    model = tmp_path / "bad.gguf"
    if content is not None:
        model.write_bytes(content)
    code, out = run_script(tmp_path, ["/max_tokens 2", "Hello", "/quit"], model)
    assert code == 1  # what was asked for could not be done
    assert f"The model {model} cannot be used." in out
    assert cause in out
    assert "hint:" in out
    assert "fallback: the bundled demonstration model" in out
    assert "digest" in out


def test_models_are_listed_from_the_cache(tmp_path: Path, model_file: Any) -> None:
    folder = model_file("llama", "Q4_K").parent
    for _ in range(2):
        code, out = run_script(tmp_path, [f"/models {folder}", "/quit"])
        assert code == 0
        assert re.search(r"llama-Q4_K\.gguf +\d.* Q4_K", out)
    assert json.loads((tmp_path / "cache/flyball/models.json").read_text())["schema_version"] == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["--threads", "many"],
        ["--decode-threads", "1025"],
        ["--prefix-cache-mb", "-1"],
        ["--speculate", "maybe"],
        ["--cache-type", "f8"],
        ["--nonsense"],
        ["a", "b"],
        ["--script", "/absent"],
    ],
)
def test_wrong_use_is_exit_code_2(arguments: list[str]) -> None:
    done = subprocess.run([program(), *arguments], capture_output=True, timeout=300, check=False)
    assert done.returncode == 2
    assert b"usage:" in done.stderr


def test_help_shows_usage() -> None:
    done = subprocess.run([program(), "--help"], capture_output=True, timeout=300, check=True)
    assert done.stdout.startswith(b"usage: flyball-repl")


METRICS_LINE = re.compile(rb"\[\d+ tokens?, [^\]\n]*, (\w+), digest [0-9a-f]{12}\]")


def test_ctrl_c_stops_an_answer(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    with subprocess.Popen([program()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        output = process.stdout.fileno()

        def read_until(pattern: re.Pattern[bytes]) -> re.Match[bytes]:
            seen = b""
            while not (match := pattern.search(seen)):
                chunk = os.read(output, 4096)
                assert chunk, seen
                seen += chunk
            return match

        process.stdin.write(b"/temp 50\n/top_k 0\n/top_p 1\n/min_p 0\n/max_tokens 100000\n/raw on\n/ctx 100000\n")
        reason = b""
        for seed in range(5):  # noise is long, but a seed may draw the end at once
            process.stdin.write(b"/seed %d\nGo\n" % seed)
            process.stdin.flush()
            read_until(re.compile(rb"\nGo"))
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            reason = read_until(METRICS_LINE)[1]
            if reason == b"interrupted":
                break
        assert reason == b"interrupted"
        rest, _ = process.communicate(b"/temp 0\n/max_tokens 3\nHello\n/quit\n", timeout=300)
        assert METRICS_LINE.search(rest)
    assert process.returncode == 0


def test_documentation_lists_every_command(tmp_path: Path) -> None:
    _, out = run_script(tmp_path, ["/help", "/quit"])
    commands = set(re.findall(r"^  /(\w+)", out, re.MULTILINE))
    assert len(commands) > 20
    documented = re.findall(r"^\| `/(\w+)", (ROOT / "docs/repl.md").read_text(), re.MULTILINE)
    assert set(documented) == commands
    assert len(documented) == len(commands)


def test_versions_agree(tmp_path: Path) -> None:
    _, out = run_script(tmp_path, ["/quit"])
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert out.startswith(f"flyball {version[1]} ")


def test_the_known_format_and_the_template_give_one_answer(demo: flyball.Model, tmp_path: Path) -> None:
    """The core's chat format and the model's own template: the same tokens over two turns, hence the same digests."""
    code, out = run_script(
        tmp_path,
        ["/max_tokens 24", "/system Be brief.", "What is 3 + 4?", "<|im_end|> And then?", "/quit"],
        flyball.demo_model_path(),
    )
    assert code == 0, out
    chat = demo.chat(system="Be brief.")
    digests = [chat.send(message, 24).digest[:12] for message in ("What is 3 + 4?", "<|im_end|> And then?")]
    assert re.findall(r"digest ([0-9a-f]{12})", out) == digests


def test_flags_of_version_0_1_warn(tmp_path: Path) -> None:
    code, out = run_script(tmp_path, ["/cache_type"], "--kv", "q8_0", "--profile", "quiet", "--tune", "again")
    assert code == 0, out
    assert "cache type q8_0" in out
    for renamed in ("--kv is now --cache-type", "--profile is now --objective", "again is now refresh"):
        assert f"warning: {renamed}" in out
