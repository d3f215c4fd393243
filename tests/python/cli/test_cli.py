"""The command line (contract 6): output, exit codes, errors of one line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import flyball
from flyball.cli import COMMANDS, main
from flyball.cli.common import open_model
from flyball.config import configuration
from tests.reference import gguf_file as gf
from tests.reference.models import write_model

Capture = pytest.CaptureFixture[str]


def flyball_command(*args: str, stdin: str | bytes = "", cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    raw = stdin.encode() if isinstance(stdin, str) else stdin
    return subprocess.run(
        [sys.executable, "-m", "flyball", *args], input=raw, capture_output=True, timeout=300, cwd=cwd
    )


def fails(capsys: Capture, *args: str, code: int = 2) -> str:
    """The one line on standard error of a command that must not succeed."""
    assert main(args) == code
    err = capsys.readouterr().err
    assert err.startswith("flyball: ")
    assert err.count("\n") == 1
    return err


def test_every_command_has_help() -> None:
    for name in COMMANDS:
        done = flyball_command(name, "--help") if name == "run" else None
        if done:
            assert done.returncode == 0
            assert b"usage: flyball run" in done.stdout
        with pytest.raises(SystemExit) as ended:
            main([name, "--help"])
        assert ended.value.code == 0


@pytest.mark.parametrize("args", [[], ["nonsense"], ["run", "--nonsense"], ["run", "-p", "a", "-f", "b"], ["verify"]])
def test_wrong_use_is_exit_code_two(args: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(args)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


# ---------------------------------------------------------------- run and verify


def test_run_without_a_model_says_that_it_is_a_demonstration(capsys: Capture, tmp_path: Path) -> None:
    assert main(["run", "-n", "12", "--receipt", str(tmp_path / "r.json")]) == 0
    out = capsys.readouterr().out
    assert "demonstration model" in out
    assert "Once upon a time" in out
    for wanted in (
        "prefill",
        "decode",
        "cycles per token",
        "tokens per second",
        "stopped",
        "digest",
        str(tmp_path / "r.json"),
    ):
        assert wanted in out
    assert flyball.Receipt.load(tmp_path / "r.json").digest in out


def test_run_json_then_verify(capsys: Capture, tmp_path: Path) -> None:
    assert main(["run", "-p", "Once", "-n", "8", "--seed", "3", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert Path(first["receipt"]) == tmp_path / "state" / "flyball" / "receipts" / f"{first['digest'][:16]}.json"
    assert len(first["tokens"]) == 8
    assert first["metrics"]["decode"]["tokens"] == 7
    assert main(["verify", first["receipt"]]) == 0
    assert capsys.readouterr().out.startswith("verified")
    for isa in flyball.isas():
        assert main(["verify", first["receipt"], "--isa", isa, "--threads", "3", "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert (report["verified"], report["isa"], report["threads"]) == (True, isa, 3)


def test_verify_exit_codes(capsys: Capture, tmp_path: Path, model_file: Callable[..., Path]) -> None:
    receipt = tmp_path / "r.json"
    assert main(["run", "-n", "6", "--receipt", str(receipt), "-q"]) == 0
    members = json.loads(receipt.read_text())
    members["tokens"][2] = (members["tokens"][2] + 1) % 2048
    forged = tmp_path / "forged.json"
    forged.write_text(json.dumps(members))
    capsys.readouterr()
    assert main(["verify", str(forged)]) == 1
    assert "2" in capsys.readouterr().out
    assert main(["verify", str(forged), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["position"] == 2
    assert main(["verify", str(receipt), "--model", str(model_file())]) == 1
    capsys.readouterr()
    assert "cannot be read" in fails(capsys, "verify", str(tmp_path)) or True
    fails(capsys, "verify", str(tmp_path / "none.json"))
    fails(capsys, "verify", str(receipt), "--model", str(tmp_path / "none.gguf"))
    (tmp_path / "torn.json").write_text(receipt.read_text()[:-40])
    assert "byte" in fails(capsys, "verify", str(tmp_path / "torn.json"))


def test_run_as_a_program_streams_utf8_and_survives_a_closed_pipe() -> None:
    done = flyball_command("run", "-p", "Once upon a time", "-n", "5", "-q")
    assert done.returncode == 0
    assert done.stdout.startswith(b"Once upon a time") is False
    assert done.stdout.strip()
    assert done.stderr == b""
    command = f"{sys.executable} -m flyball run -n 40 | head -c 1"
    piped = subprocess.run(command, shell=True, capture_output=True, timeout=300)
    assert piped.stderr == b""


def test_prompt_from_a_file_and_from_standard_input(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("Once upon a time, é")
    assert main(["run", "-f", str(tmp_path / "p.txt"), "-n", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["prompt"] == "Once upon a time, é"
    done = flyball_command("run", "-f", "-", "-n", "2", "--json", stdin="From a pipe")
    assert json.loads(done.stdout)["prompt"] == "From a pipe"


def test_bad_prompts(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_bytes(b"good until \xff here")
    assert "UTF-8" in fails(capsys, "run", "-f", str(tmp_path / "bad.txt"))
    assert "at byte 11" in fails(capsys, "run", "-f", str(tmp_path / "bad.txt"))
    (tmp_path / "huge.txt").write_text("word " * 20000)
    assert "context" in fails(capsys, "run", "-f", str(tmp_path / "huge.txt"))
    fails(capsys, "run", "-f", str(tmp_path / "none.txt"))
    assert "empty" in fails(capsys, "run", "-p", "")
    assert "UTF-8" in fails(capsys, "run", "-p", "bad \udcff")


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["--temp", "-1"], "temperature"),
        (["--temp", "nan"], "temperature"),
        (["--top-k", "x"], "top_k"),
        (["--top-p", "2"], "top_p"),
        (["--seed", "-1"], "seed"),
        (["--isa", "mmx"], "mmx"),
        (["--threads", "100000"], "threads"),
        (["--cache-type", "f8"], "cache_type"),
        (["--decode-threads", "-1"], "decode_threads: is -1, must be an integer from 0 to 1024"),
        (["--prefix-cache-mb", "much"], "prefix_cache_mb: is much, must be an integer from 0 to 1048576"),
        (["--speculate", "maybe"], "speculate: is maybe, must be one of: auto off always"),
        (["--draft", "no-such.gguf"], "no-such.gguf"),
        (["-n", "0"], "max_tokens"),
        (["--deadline", "-1"], "deadline"),
        (["--config", "no-such.toml"], "no-such.toml"),
    ],
)
def test_wrong_values_are_named(args: list[str], word: str, capsys: Capture) -> None:
    assert word in fails(capsys, "run", "-p", "x", *args)


def test_damaged_model_is_one_line(capsys: Capture, tmp_path: Path, model_file: Callable[..., Path]) -> None:
    (tmp_path / "cut.gguf").write_bytes(model_file().read_bytes()[:100_000])
    for command in (["run"], ["info"], ["bench", "speed"]):
        assert "cut off" in fails(capsys, *command, str(tmp_path / "cut.gguf"))


def test_run_in_the_chat_template(capsys: Capture) -> None:
    assert main(["run", "--chat", "-p", "What is 2 + 3?", "-n", "16", "--temp", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["text"]


def test_draft_tokens_by_flags_or_file_change_no_answer(capsys: Capture, tmp_path: Path) -> None:
    """The digest is the same with any drafting, and the counts differ by the drafter."""
    (tmp_path / "f.toml").write_text(f"speculate = 'always'\ndraft = '{flyball.demo_model_path()}'\n")

    def answer(*args: str) -> tuple[str, int]:
        assert main(["run", "-p", "Once upon a time", "-n", "40", "--temp", "0", "--json", *args]) == 0
        shown = json.loads(capsys.readouterr().out)
        return shown["digest"], shown["metrics"]["speculation"]["drafted"]

    plain, n_plain = answer("--speculate", "off")
    by_draft, n_by_draft = answer("--config", str(tmp_path / "f.toml"), "--decode-threads", "1")
    overridden, n_overridden = answer("--config", str(tmp_path / "f.toml"), "--speculate", "off")
    assert plain == by_draft == overridden
    assert n_plain == n_overridden == 0
    assert n_by_draft > 20
    assert (
        main(["run", "-n", "30", "--config", str(tmp_path / "f.toml"), "--threads", "2", "--decode-threads", "1"]) == 0
    )
    out = capsys.readouterr().out
    assert re.search(r"^draft tokens \d+ of \d+ accepted \(\d+ %\), verified in \d+ calls$", out, re.MULTILINE)
    assert "2 threads, 1 to decode" in out


def test_a_draft_with_another_vocabulary_is_refused(capsys: Capture, model_file: Callable[..., Path]) -> None:
    assert "draft: has another vocabulary" in fails(capsys, "run", "-n", "2", "--draft", str(model_file()), "-q")


def test_settings_reach_the_model() -> None:
    words = {"threads": "2", "decode_threads": "1", "prefix_cache_mb": "0"}
    with open_model(configuration.resolve(words=words, environment={})) as model:
        assert (model.info.threads, model.info.decode_threads) == (2, 1)
        model.generate("Once upon a time, " * 30, 2)
        assert model.prefix_cache_bytes == 0


# ---------------------------------------------------------------- info, models, config


def test_info(capsys: Capture, model_file: Callable[..., Path]) -> None:
    assert main(["info", "--tensors", "--metadata", "--fingerprint"]) == 0
    out = capsys.readouterr().out
    for wanted in ("llama", "token_embd.weight", "general.architecture", "fingerprint"):
        assert wanted in out
    assert main(["info", str(model_file("qwen3", "Q4_K")), "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["architecture"] == "qwen3"
    assert described["bytes_by_type"]["Q4_K"] > 0
    assert len(described["tensors"]) == described["n_tensors"]


def test_info_lists_what_it_does_not_read_and_what_stands_in_the_way(capsys: Capture, tmp_path: Path) -> None:
    path = str(
        write_model(
            tmp_path / "m.gguf",
            "llama",
            "Q8_0",
            keys={"llama.logit_scale": gf.f32(0.25)},
            more={"blk.0.attn_sinks.weight": np.ones(4, np.float32)},
        ).path
    )
    assert main(["info", path]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^keys not read +.*llama\.logit_scale", out, re.MULTILINE)
    assert re.search(r"^cannot be run +.*blk\.0\.attn_sinks\.weight", out, re.MULTILINE)
    assert main(["info", path, "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert "llama.logit_scale" in described["keys_not_read"]
    assert "blk.0.attn_sinks.weight" in described["problem"]
    fails(capsys, "run", path, "-p", "x")


def test_models_says_why_a_file_cannot_be_loaded(capsys: Capture, tmp_path: Path) -> None:
    bad = {
        "tensor.gguf": ({}, {"blk.0.attn_sinks.weight": np.ones(4, np.float32)}, "attn_sinks"),
        "vocabulary.gguf": ({"tokenizer.ggml.pre": gf.string("strange")}, {}, "strange"),
        "layers.gguf": ({"llama.block_count": gf.u32(1)}, {}, "block_count"),
    }
    for name, (keys, more, _) in bad.items():
        write_model(tmp_path / name, "llama", "Q8_0", keys=keys, more=more)
    assert main(["models", str(tmp_path), "--json"]) == 0
    rows = {Path(row["file"]).name: row["problem"] for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == set(bad)
    for name, (_, _, reason) in bad.items():
        assert reason in rows[name]
        with pytest.raises(flyball.Error, match=reason):
            flyball.Model.load(tmp_path / name)


def test_models_lists_good_and_bad_files(capsys: Capture, tmp_path: Path, model_file: Callable[..., Path]) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "good.gguf").write_bytes(model_file().read_bytes())
    (folder / "bad.gguf").write_bytes(b"GGUF\x03\0\0\0" + b"\xff" * 16)
    (folder / "other.txt").write_text("no model")
    cache = tmp_path / "cache" / "flyball" / "models.json"
    for damage in (None, None, '{"models": 3}'):  # read, then from the cache, then with a damaged cache
        if damage:
            cache.write_text(damage)
        assert main(["models", str(folder), "--json"]) == 0
        rows = json.loads(capsys.readouterr().out)
        assert [Path(row["file"]).name for row in rows] == ["bad.gguf", "good.gguf"]
        assert [bool(row["problem"]) for row in rows] == [True, False]
        assert rows[1]["summary"].startswith("llama")
        assert cache.is_file()
    assert main(["models", str(folder)]) == 0
    assert "good.gguf" in capsys.readouterr().out
    fails(capsys, "models", str(tmp_path / "none"))


def test_models_without_a_folder_shows_the_bundled_one(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["models"]) == 0
    assert "flyball-demo.gguf" in capsys.readouterr().out


def test_config_shows_each_value_with_its_origin(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flyball.toml").write_text(
        '# comment\n\nisa = "scalar"  # trailing\nsampling.top_k = 7\n'
        "sampling.temperature=0.25\r\nmodel = 'a#b.gguf'\n"
    )
    monkeypatch.setenv("FLYBALL_SAMPLING_SEED", "18446744073709551615")
    monkeypatch.setenv("FLYBALL_SAMPLING_TOP_K", "8")
    assert main(["config", "--top-k", "9", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["isa"]["value"], shown["isa"]["origin"]) == ("scalar", "flyball.toml:3")
    assert shown["model"]["value"] == "a#b.gguf"
    assert shown["sampling.temperature"]["value"] == 0.25
    assert (shown["sampling.top_k"]["value"], shown["sampling.top_k"]["origin"]) == (9, "command line")
    assert shown["sampling.seed"]["value"] == 2**64 - 1
    assert shown["sampling.seed"]["origin"] == "environment FLYBALL_SAMPLING_SEED"
    assert (shown["threads"]["value"], shown["threads"]["origin"]) == (0, "default")
    assert main(["config"]) == 0
    text = capsys.readouterr().out
    (tmp_path / "again.toml").write_text(text)
    monkeypatch.delenv("FLYBALL_SAMPLING_TOP_K")
    again = configuration.resolve(tmp_path / "again.toml", environment={})
    assert again["sampling.top_k"].value == 8
    assert again["model"].value == "a#b.gguf"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("nonsense = 1", ["bad.toml:1", "nonsense"]),
        ("\nsampling.topk = 1", ["bad.toml:2", "sampling.top_k"]),
        ("threads = 1\nthreads = 2", ["bad.toml:2", "threads", "line 1"]),
        ("threads = -1", ["bad.toml:1", "threads", "0 to 1024"]),
        ("threads = 1.5", ["threads"]),
        ('threads = "1"', ["threads", "number"]),
        ("isa = auto", ["isa", "quotes"]),
        ('isa = "auto', ["isa"]),
        ('isa = "auto" x', ["isa"]),
        ('cache_type = "f8"', ["cache_type", "f16 f32 q8_0"]),
        ("\ndecode_threads = 2000", ["bad.toml:2", "decode_threads", "0 to 1024"]),
        ("prefix_cache_mb = -1", ["bad.toml:1", "prefix_cache_mb", "0 to 1048576"]),
        ('speculate = "maybe"', ["bad.toml:1", "speculate", "auto off always"]),
        ("speculate = off", ["speculate", "quotes"]),
        ('drafts = "x.gguf"', ["bad.toml:1", "did you mean draft?"]),
        ("sampling.top_p = nan", ["top_p"]),
        ("sampling.top_p = 1e999", ["top_p"]),
        ("[sampling]", ["bad.toml:1", "dotted"]),
        ("threads", ["key = value"]),
        ("= 1", ["key = value"]),
        ("threads =", ["threads"]),
        ('model = "' + "x" * 5000 + '"', ["model", "longer"]),
        ("\x00\xff", ["bad.toml:1"]),
    ],
)
def test_configuration_errors_name_file_and_line(
    content: str, words: list[str], tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "bad.toml").write_text(content, encoding="latin-1")
    error = fails(capsys, "config", "--config", str(tmp_path / "bad.toml"))
    for word in words:
        assert word in error


def test_wrong_environment_is_an_error(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYBALL_THREADS", "many")
    assert "threads" in fails(capsys, "config")


# ---------------------------------------------------------------- chat


def test_chat_session(tmp_path: Path) -> None:
    before = ["/help", "What is 2 + 3?", "/metrics", "/receipt r.json"]
    before += ["/speculate", "/speculate always", "/speculate maybe"]
    after = ["/nonsense", "/receipt", "/seed x", "/seed 4", "/clear", "/system Be brief.", "Hi", "/quit"]
    lines = "".join(f"{line}\n" for line in before + after)
    done = flyball_command("chat", "-n", "16", stdin=lines, cwd=tmp_path)
    out, err = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == 0
    assert "demonstration model" in out
    assert "/quit" in out
    assert '"prefill"' in out
    assert "speculate auto\n" in out
    assert "speculate always\n" in out
    assert "speculate: is 'maybe', must be auto, off or always" in err
    assert err.count("flyball: ") == err.count("\n") == 4
    assert flyball.verify(tmp_path / "r.json")


def test_chat_ends_with_its_input_and_survives_bad_bytes() -> None:
    done = flyball_command("chat", "-n", "4", stdin=b"\xff\xfe\nHi\n")
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
