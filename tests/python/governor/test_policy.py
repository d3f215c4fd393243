"""The policy: modes, a model that is asked, changes that are verified, and what came of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import flyball
from flyball import journal
from flyball.cli import main
from flyball.governor.policy import ACTIONS, Configuration, Policy
from flyball.journal import explain
from flyball.journal.replay import replay
from tests.reference.models import write_model

TROUBLE = {"policy.headroom_mb": 16777216}  # more memory than there is must stay free
APPLY = {"policy.auto_apply": "aggressive"} | TROUBLE


@pytest.fixture
def model() -> flyball.Model:
    return flyball.Model.load(flyball.demo_model_path(), threads=1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "policy.toml"


def ask(session: flyball.Session, max_tokens: int = 64) -> flyball.Result:
    return session.generate("Once", max_tokens, ignore_eos=True, speculate="off")


def test_a_change_is_written_verified_and_followed(model: flyball.Model, file: Path) -> None:
    policy = Policy(model, file, APPLY, context=256, max_tokens=64)
    session = policy.session()
    before = ask(session)
    assert len(before.tokens) == 64
    state = policy.consult(session, mock="reduce_cache")
    assert state.last_reasons[-1] == "APPLY_VERIFIED"
    assert (state.current, state.requested) == (Configuration(256, 64, "q8_0"), Configuration(256, 64, "f16"))
    assert (state.steps, state.judging) == (1, "reduce_cache")
    assert session.cache_type == "q8_0"
    assert 'cache_type = "q8_0"' in file.read_text()
    assert 'cache_type = "f16"' in file.with_name(file.name + ".before").read_text()
    after = ask(session)
    assert after.digest != before.digest
    assert flyball.verify(after.receipt, model=model)
    again = Policy(model, file, APPLY, context=256, max_tokens=64)  # the next program
    assert again.state.current.cache_type == "q8_0"
    assert again.session().cache_type == "q8_0"


def test_answers_are_bounded_and_what_a_person_asks_for_holds(model: flyball.Model, file: Path) -> None:
    policy = Policy(model, file, APPLY | {"policy.floor_answer": 16}, max_tokens=64)
    session = policy.session()
    assert ask(session).decisions == ()
    policy.consult(session, mock="reduce_answer")
    assert len(ask(session).tokens) == 32
    assert len(ask(session, 10).tokens) == 10
    assert len(ask(session, 50).tokens) == 32
    policy.request(0, "f16", 64)
    assert len(ask(session).tokens) == 64
    assert "max_tokens = 64\n" in file.read_text()


def test_an_answer_says_what_the_policy_has_changed(model: flyball.Model, file: Path) -> None:
    told = file.with_suffix(".jsonl")
    with flyball.Journal(told) as kept:
        model = flyball.Model.load(flyball.demo_model_path(), journal=kept)
        policy = Policy(model, file, APPLY | {"policy.floor_answer": 16, "policy.plan_steps": 9}, max_tokens=64)
        session = policy.session()
        policy.consult(session, mock="reduce_answer")
        result = ask(session, 50)
        [decision] = result.decisions
        asked = {"context": session.context, "max_tokens": 50, "cache_type": "f16"}
        assert (decision.position, decision.reason_id) == (0, "POLICY_IN_FORCE")
        assert decision.data == {"asked": asked, "given": asked | {"max_tokens": 32}}
        assert result.receipt["decisions"][0]["reason_id"] == "POLICY_IN_FORCE"
        assert flyball.verify(result.receipt, model=model)
        assert ask(session, 20).decisions == ()  # it gets what was asked for
        session.govern({})  # nobody watches it, and its answers are still as the policy wants them
        assert [each.reason_id for each in ask(session).decisions] == ["POLICY_IN_FORCE"]
        assert replay(journal.read(told)).verified
    sentence, _ = [told for told in explain.tell(journal.read(told)) if "made with" in told.sentence]
    assert sentence.sentence == "made with what the policy changed: tokens of an answer 50 became 32"


def test_a_policy_serves_threads_while_the_model_is_asked(model: flyball.Model, file: Path) -> None:
    """A thread that looks at the policy holds nothing that the thread which asks needs."""
    policy = Policy(model, file, APPLY, context=256)
    session = policy.session()
    done = threading.Event()
    seen = []

    def look() -> None:
        while not done.is_set():
            seen.append(policy.state.mode)

    thread = threading.Thread(target=look)
    thread.start()
    for _ in range(3):
        policy.consult(session)
    done.set()
    thread.join(60)
    assert not thread.is_alive()
    assert seen


def test_a_conversation_keeps_its_cache_until_it_fits(model: flyball.Model, file: Path) -> None:
    policy = Policy(model, file, APPLY | {"policy.floor_context": 32}, context=128)
    session = policy.session()
    ask(session, 90)
    policy.consult(session, mock="reduce_context")
    assert session.context == 128
    session.reset()
    assert session.context == 64


def test_a_consult_is_exact_and_leaves_the_session_alone(file: Path) -> None:
    asked = []
    for isa in flyball.isas():
        for threads in (1, 2):
            with (
                flyball.Journal(file.with_name(f"{isa}{threads}")) as kept,
                flyball.Model.load(flyball.demo_model_path(), isa=isa, threads=threads, journal=kept) as model,
            ):
                policy = Policy(model)
                session = policy.session()
                first = ask(session, 8)
                held = session.tokens
                policy.consult(session)
                assert session.tokens == held
                assert ask(session, 8).digest == first.digest
            [seen] = [e for e in journal.read(kept.path) if e.reason_id == "SESSION_CONSULTED"]
            asked.append({name: seen.data[name] for name in ("scores", "situation")})
    assert set(asked[0]["scores"]) == set(ACTIONS)
    assert all(seen == asked[0] for seen in asked)
    assert len(set(asked[0]["scores"].values())) == len(ACTIONS)
    again = Policy(flyball.Model.load(flyball.demo_model_path())).scores(asked[0]["situation"])
    assert again == pytest.approx(asked[0]["scores"], rel=1e-6)  # the journal has them in decimals of a float32


def test_what_cannot_be_written_is_told_and_the_answer_is_there(model: flyball.Model, tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    policy = Policy(model, folder / "policy.toml", APPLY)
    folder.rmdir()
    session = policy.session()
    state = policy.consult(session, mock="reduce_cache")
    assert state.last_reasons[-3:] == ("APPLY_NOT_VERIFIED", "PLAN_HARD_STOP", "PLAN_NOT_RESTORED")
    assert state.hard_stopped
    assert session.cache_type == "f16"
    assert len(ask(session, 8).tokens) == 8


def test_a_consult_that_cannot_be_costs_no_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The question is longer than the context that this model was made for."""
    path = write_model(tmp_path / "short.gguf", "llama", "Q8_0", n_ctx_train=64).path
    session = Policy(flyball.Model.load(path, context=64), settings={"policy.consult": "turn"}).session()
    with pytest.warns(RuntimeWarning, match="could not ask the model: consult"):
        assert len(ask(session, 4).tokens) == 4
    receipt = tmp_path / "receipt.json"
    flags = ["-p", "a", "-n", "4", "-q", "--receipt", str(receipt), "--set", "policy.consult=session"]
    assert main(["run", str(path), *flags]) == 0
    assert receipt.exists()
    assert "could not ask the model" in capsys.readouterr().err


def test_wrong_use_is_refused(model: flyball.Model, file: Path) -> None:
    with pytest.raises(flyball.InvalidArgument, match="policy_file"):
        Policy(model, None, {"policy.auto_apply": "conservative"})
    with pytest.raises(flyball.InvalidArgument):
        Policy(model, file, {"policy.auto_apply": "sometimes"})
    with pytest.raises(flyball.InvalidArgument):
        Policy(model, file, cache_type="f17")
    policy = Policy(model, file)
    with pytest.raises(flyball.InvalidArgument, match="must be one of: stay reduce_context"):
        policy.consult(policy.session(), mock="reduce_everything")
    with pytest.raises(flyball.InvalidArgument):
        policy.govern({"policy.threshold": 101})


def test_an_answer_that_the_caller_ends_is_no_evidence(file: Path) -> None:
    kept = file.with_name("kept.jsonl")
    with flyball.Journal(kept) as log, flyball.Model.load(flyball.demo_model_path(), journal=log) as model:
        policy = Policy(model, file, APPLY | {"policy.outcome_turns": 5}, context=512, max_tokens=400)
        session = policy.session()
        for _ in range(5):
            session.reset()
            ask(session, 12)
        policy.consult(session, mock="reduce_answer")
        session.reset()
        assert session.generate("Once", 400, ignore_eos=True, deadline=0.005).stop_reason == "deadline"
        assert policy.state.judged_answers == 0
        for _ in range(5):
            session.reset()
            ask(session, 12)
        assert policy.state.outcomes["reduce_answer"].unchanged == 1
    seen = [event.data for event in journal.read(kept) if event.reason_id == "SESSION_TURN_SEEN"]
    assert [data.get("interrupted", False) for data in seen] == [*[False] * 5, True, *[False] * 5]
    assert replay(journal.read(kept)).verified


# ---------------------------------------------------------------- through the commands


def test_the_journal_tells_and_repeats_it(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = iter(["Hello", "Tell me a story", "/quit"])
    monkeypatch.setattr("builtins.input", lambda _: next(lines))
    told = file.with_name("chat.jsonl")
    settings = [f"--set={key}={value}" for key, value in (APPLY | {"policy.gate": "log_only"}).items()]
    more = ["--set", "policy.consult=turn", "--set", f"policy_file={file}", "--journal", str(told)]
    assert main(["chat", *settings, *more]) == 0
    out = capsys.readouterr().out
    assert "(policy: POLICY_WORSE" in out  # after the second answer; what was only told is not shown
    assert "POLICY_CHOICE" not in out
    assert main(["replay", str(told), "--model", str(flyball.demo_model_path())]) == 0
    assert "consults: 2 of 2 have the same bits" in capsys.readouterr().out
    assert main(["journal", "verify", str(told)]) == 0
    capsys.readouterr()
    assert main(["journal", "explain", str(told)]) == 0
    out = capsys.readouterr().out
    assert "a policy manages the sessions (normal mode)" in out
    assert "the model was asked what to change" in out
    assert "confidence in " in out


def test_run_asks_at_the_end_of_its_session(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = file.with_name("run.jsonl")
    flags = ["-q", "--no-receipt", "-n", "8", "--journal", str(told)]
    assert main(["run", *flags, "--set", "policy.consult=session"]) == 0
    assert sum(event.reason_id == "SESSION_CONSULTED" for event in journal.read(told)) == 1
    report = replay(journal.read(told), {"policy.threshold": 0, "policy.gate": "log_only"})
    assert report.n_sessions >= 2


def test_config_shows_what_the_policy_changed(
    model: flyball.Model, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = Policy(model, file, APPLY, max_tokens=128)
    policy.consult(policy.session(), mock="reduce_answer")
    flags = ["config", "--set", f"policy_file={file}"]
    assert main([*flags, "--set", "policy.auto_apply=aggressive"]) == 0
    assert f"# policy {file}:3" in capsys.readouterr().out
    assert main(flags) == 0
    assert "# policy " not in capsys.readouterr().out


# ---------------------------------------------------------------- kill -9

_WRITER = """
import sys, flyball
from flyball.governor.policy import Policy
model = flyball.Model.load(flyball.demo_model_path(), threads=1)
policy = Policy(model, sys.argv[1], {"policy.auto_apply": "aggressive"})
n = 0
while True:
    n = 64 + (n + 1) % 64
    policy.request(0, ("f16", "q8_0", "f32")[n % 3], n)
    print("written", flush=True)
"""


@pytest.mark.soak
def test_a_process_killed_at_any_point_leaves_a_configuration(model: flyball.Model, file: Path) -> None:
    """Each time the file is one of those that were written, whole: old or new."""
    seen = set()
    for kill in range(int(os.environ.get("FLYBALL_KILLS", "8"))):
        process = subprocess.Popen([sys.executable, "-c", _WRITER, str(file)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.002 + 0.0037 * (kill % 13))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        text = file.read_text()
        assert text.startswith("# What Flyball's policy has changed")
        assert text.endswith('"\n')
        policy = Policy(model, file, {"policy.auto_apply": "aggressive", "policy.most_answer": 256}, cache_type="f32")
        assert f"max_tokens = {policy.state.current.max_tokens}\n" in text
        seen.add(text)
    assert len(seen) > 1
