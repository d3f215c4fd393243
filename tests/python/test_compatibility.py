"""What version 0.1 wrote is read, verified and replayed by this one, and every answer has the bits that it had then."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

import flyball
from flyball import Policy, _core
from flyball.cli import main
from flyball.config import configuration
from flyball.journal import journal
from flyball.journal.events import upgraded
from flyball.journal.replay import receipts, replay
from flyball.reliability.store import Store

OLD = Path(__file__).parents[1] / "golden" / "v0.1"
RECEIPTS = sorted((OLD / "receipts").glob("*.json"))
JOURNALS = sorted(OLD.glob("*/*.jsonl.head"))
ANSWERS = json.loads((OLD / "answers.json").read_text())


@pytest.mark.parametrize("path", RECEIPTS, ids=[path.stem for path in RECEIPTS])
def test_receipts_verify(path: Path, demo: flyball.Model) -> None:
    assert flyball.verify(path, model=demo)


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_have_the_bits_that_they_had(name: str, model_file: Callable[..., Path]) -> None:
    variant, wtype = name.rsplit("-", 1)
    path = model_file(variant, wtype)
    recorded = ANSWERS[name]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == recorded["file"], "the recipe makes another file"
    with flyball.Model.load(path, context=96) as model:
        ids = [(37 * i * i + 11 * i + 5) % model.info.n_vocab for i in range(69)]
        found = {"file": recorded["file"], "logits": hashlib.sha256(model.logits(ids).tobytes()).hexdigest()}
        for cache in ("f16", "f32", "q8_0"):
            answer = model.session(96, cache).generate(ids, 12, ignore_eos=True, seed=5, temperature=0.9)
            found[cache] = answer.digest
    assert found == recorded


@pytest.mark.parametrize("head", JOURNALS, ids=[head.name.split(".")[0] for head in JOURNALS])
def test_journals_hold_and_can_be_continued(head: Path, tmp_path: Path) -> None:
    for file in head.parent.glob(head.name.split(".")[0] + ".*"):
        shutil.copy(file, tmp_path)
    path = tmp_path / head.with_suffix("").name
    before = journal.check(path)
    assert before.verified
    assert before.n_lines == len(path.read_bytes().splitlines())
    with flyball.Journal(path) as kept, flyball.Model.load(flyball.demo_model_path(), journal=kept) as model:
        model.generate("Once", 2)
    after = journal.check(path)
    assert after.verified
    assert after.n_lines > before.n_lines


@pytest.mark.parametrize(("name", "n_decisions"), [("governed", 16), ("policy", 32), ("repl", 0)])
def test_journals_are_replayed(name: str, n_decisions: int) -> None:
    report = replay(journal.read(OLD / "journals" / f"{name}.jsonl"))
    assert report.differences == ()
    assert report.n_decisions >= n_decisions


def test_receipts_in_a_journal_verify(demo: flyball.Model) -> None:
    kept = list(receipts(journal.read(OLD / "journals" / "governed.jsonl")))
    assert len(kept) == 10
    for _, text in kept:
        assert flyball.verify(flyball.Receipt(text), model=demo)


def test_a_saved_session_goes_on(demo: flyball.Model) -> None:
    session = demo.session(cache_type="q8_0")
    session.restore(OLD / "files" / "session.bin")
    tokens = session.tokens
    assert len(tokens) == 26
    continued = session.generate([*tokens, 5], 8, seed=2)
    assert continued.metrics.cached_tokens == len(tokens)
    assert continued.tokens == demo.session(cache_type="q8_0").generate([*tokens, 5], 8, seed=2).tokens


def test_a_configuration_is_read() -> None:
    with pytest.warns(FutureWarning) as warned:
        settings = configuration.resolve(OLD / "files" / "flyball.toml", environment={})
    assert settings["context"].value == 256
    assert settings["cache_type"].value == "q8_0"
    assert settings["objective"].value == "quiet"
    assert settings["tune"].value == "refresh"
    told = [str(each.message).rsplit("/", 1)[1] for each in warned]
    assert [each.split(";")[0] for each in told] == [
        "flyball.toml:3: again is now refresh",
        "flyball.toml:4: profile is now objective",
        "flyball.toml:6: kv is now cache_type",
    ]


def test_a_former_environment_variable_is_read_and_todays_wins() -> None:
    with pytest.warns(FutureWarning, match="environment FLYBALL_KV: kv is now cache_type"):
        assert configuration.resolve(environment={"FLYBALL_KV": "q8_0"})["cache_type"].value == "q8_0"
    with pytest.warns(FutureWarning, match="FLYBALL_KV"):
        found = configuration.resolve(environment={"FLYBALL_KV": "q8_0", "FLYBALL_CACHE_TYPE": "f32"})
    assert found["cache_type"].value == "f32"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "-n", "1", "--kv", "q8_0", "-q"], "--kv is now --cache-type"),
        (["run", "-n", "1", "--set", "kv=q8_0", "-q"], "command line: kv is now cache_type"),
        (["run", "-n", "1", "--set", "tune=again", "-q"], "command line: again is now refresh"),
        (["bench", "--prompt", "8", "--gen", "1", "--repeat", "1", "--no-bandwidth"], "is now flyball bench speed"),
        (["bench", "speed", "--profile", "--prompt", "8", "--gen", "1", "--repeat", "1"], "is now --breakdown"),
    ],
    ids=["flag", "key", "choice", "command", "breakdown"],
)
def test_former_words_of_the_command_line_warn(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # main() replaces it
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(words) == 0
    assert told in capsys.readouterr().err


def test_a_policys_files_hold(demo: flyball.Model, tmp_path: Path) -> None:
    for file in (OLD / "files").glob("policy.toml*"):
        shutil.copy(file, tmp_path)
    apply = {"policy.auto_apply": "aggressive", "policy.headroom_mb": 16777216, "policy.floor_answer": 8}
    state = Policy(demo, tmp_path / "policy.toml", apply, context=256, max_tokens=32).state
    assert (state.mode, state.current.max_tokens, state.current.cache_type) == ("safe", 16, "q8_0")
    assert state.outcomes["reduce_cache"].inconclusive == 1


def test_a_history_of_reliability_runs_is_read() -> None:
    records = Store(OLD / "reliability").history()
    assert [str(record.outcome.value) for record in records] == ["inconclusive", "inconclusive"]
    assert records[0].stages["quality"].verdict.reason_id == "QUALITY_INSUFFICIENT_DATA"


def test_every_kind_of_data_of_version_1_gets_todays_names() -> None:
    limits = '{"context":0,"max_tokens":0,"cache_bits":0}'
    none = '{"context":0,"max_tokens":0,"cache_type":"none"}'
    assert upgraded(f'{{"checkpoint":{limits}}}') == f'{{"checkpoint":{none}}}'  # a start without a checkpoint
    assert upgraded('{"calls":[[0,5,0,9,1,2,2,0],[2,3,2,8,1,3,1,2]]}') == (
        '{"columns":["kind","rows","gained","cycles","attention_cycles","elapsed_us","threads","drafts"],'
        '"rows":[["prompt",5,0,9,1,2,2,0],["speculative",3,2,8,1,3,1,2]]}'
    )
    said = '{"part":0,"last":true,"text":"{\\"cache_bits\\":8,\\"calls\\":[[1,1]]}"}'  # inside a text: untouched
    assert upgraded(said) == said
    core = _core.ReplayCore([])
    core.observe("SESSION_START_SEEN", 0, f'{{"checkpoint":{none}}}')
