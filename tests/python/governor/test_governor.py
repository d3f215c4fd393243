"""The governor: limits that end answers, bounds that come and go, and a journal that decides again."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import flyball
from flyball import journal
from flyball.cli import main
from flyball.governor.policy import ACTIONS
from flyball.journal import events, explain
from flyball.journal.replay import receipts, replay
from tests.python.cli.test_repl import run_script

GUARD = {"guard.mode": "on"}
TROUBLE = {"policy.auto_apply": "aggressive", "policy.headroom_mb": 16777216}  # more memory than there is must be free


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


@pytest.fixture
def model(file: Path) -> Iterator[flyball.Model]:
    """The bundled model, which tells a journal."""
    kept = flyball.Journal(file, log=file.with_suffix(".log"))
    with flyball.Model.load(flyball.demo_model_path(), journal=kept) as loaded:
        yield loaded
    kept.close()


def reasons(result: flyball.Result) -> list[str]:
    return [decision.reason_id for decision in result.decisions]


def ask(session: flyball.Session, max_tokens: int = 100) -> flyball.Result:
    return session.generate("Once", max_tokens, ignore_eos=True, speculate="off", temperature=0.5)


# ---------------------------------------------------------------- what ends an answer


def test_steps_over_budget_end_an_answer(model: flyball.Model) -> None:
    session = model.session(governor=GUARD | {"guard.budget_cycles": 1, "guard.hard_stop_overruns": 3})
    result = ask(session)
    assert result.stop_reason == "budget_guard"
    assert len(result.tokens) == 4  # the prompt's, and three steps
    assert reasons(result) == ["GUARD_BUDGET_STOP", "GUARD_SAFE_ENTERED"]
    assert result.decisions[0].data["overruns"] == 3


def test_an_answer_that_is_late_ends(model: flyball.Model) -> None:
    result = ask(model.session(governor=GUARD | {"guard.turn_ms": 5}), 400)
    assert result.stop_reason == "deadline"
    assert reasons(result)[0] == "GUARD_TURN_STOP"
    assert result.decisions[0].data["elapsed_us"] >= 5000


def test_a_late_first_token_interrupts_the_prompt() -> None:
    session = flyball.Model.load(flyball.demo_model_path(), threads=1, isa="scalar").session(
        governor=GUARD | {"guard.first_token_ms": 1}
    )
    result = session.generate(list(range(3, 500)), 10)
    assert result.stop_reason == "deadline"
    assert result.tokens == ()
    assert reasons(result)[0] == "GUARD_FIRST_TOKEN_STOP"
    assert session.tokens == list(range(3, 3 + len(session.tokens)))  # what was computed stays


def test_an_answer_that_repeats_itself_ends(model: flyball.Model) -> None:
    session = model.session(governor=GUARD | {"guard.loop_tokens": 8})
    result = session.generate("Once", 100, logit_bias={42: 1e4})
    assert result.stop_reason == "loop_guard"
    assert result.tokens == (42,) * 9
    assert reasons(result)[0] == "GUARD_LOOP_STOP"
    assert (result.decisions[0].data["repeated"], result.decisions[0].data["limit"]) == (8, 8)


def test_too_little_memory_ends_an_answer(model: flyball.Model) -> None:
    result = ask(model.session(governor=GUARD | {"guard.memory_floor_mb": 16777216}))
    assert (result.stop_reason, result.tokens) == ("memory_guard", ())


def test_the_callers_deadline_is_not_the_governors(model: flyball.Model) -> None:
    session = model.session(governor=GUARD | {"guard.turn_ms": 60_000})
    result = session.generate("Once", 400, ignore_eos=True, deadline=0.005)
    assert result.stop_reason == "deadline"
    assert result.decisions == ()


def test_a_guard_that_only_tells_changes_nothing(model: flyball.Model) -> None:
    simulated = ask(model.session(governor={"guard.mode": "simulate", "guard.budget_cycles": 1}))
    plain = ask(model.session())
    assert (simulated.tokens, simulated.digest) == (plain.tokens, plain.digest)
    assert reasons(simulated) == ["GUARD_STOP_SIMULATED"]
    assert plain.decisions == ()


def test_each_of_a_batch_has_its_own_guard(model: flyball.Model) -> None:
    governed = model.session(governor=GUARD | {"guard.budget_cycles": 1, "guard.hard_stop_overruns": 2})
    jobs = [governed, model.session()]

    async def both() -> list[flyball.Result]:
        return list(await asyncio.gather(*(s.agenerate("Once", 40, ignore_eos=True) for s in jobs)))

    stopped, whole = asyncio.run(both())
    assert stopped.stop_reason == "budget_guard"
    assert whole.stop_reason == "max_tokens"
    assert whole.tokens[: len(stopped.tokens)] == stopped.tokens


# ---------------------------------------------------------------- safe mode, and back


def test_safe_mode_bounds_the_next_answers_and_ends(model: flyball.Model) -> None:
    session = model.session(governor=GUARD | {"guard.budget_cycles": 1, "guard.safe_max_tokens": 20})
    assert ask(session).stop_reason == "budget_guard"
    session.govern(GUARD | {"guard.budget_percent": 0, "guard.safe_max_tokens": 20})
    lengths = [len(ask(session).tokens) for _ in range(3)]
    assert lengths == [20, 20, 100]
    assert session.governor.safe_turns_left == 0


def test_a_session_counts_trips_and_knows_its_last_decisions(model: flyball.Model) -> None:
    session = model.session(governor=GUARD | {"guard.budget_cycles": 1, "autotune.mode": "on"})
    assert (session.metrics.guard_trips, session.metrics.governor_decisions) == (0, {})
    assert session.governor.last_guard_stop is session.governor.last_autotune is None
    result = ask(session)
    counted, stop = session.metrics, session.governor.last_guard_stop
    assert counted.guard_trips == 1
    assert counted.governor_decisions == Counter(reasons(result))
    assert stop is not None
    assert (stop.turn, stop.reason_id, stop.data) == (1, "GUARD_BUDGET_STOP", result.decisions[0].data)
    session.govern(GUARD | {"autotune.mode": "on", "autotune.high_cycles": 2, "autotune.min_tokens": 1})
    second = ask(session)
    last = session.governor.last_autotune
    assert last is not None
    assert (last.turn, last.reason_id) == (2, "AUTOTUNE_TIGHTEN")
    assert session.governor.last_guard_stop == stop
    assert session.metrics.governor_decisions == Counter(reasons(result)) + Counter(reasons(second))


def test_a_bounded_answer_says_so_and_can_be_verified(model: flyball.Model) -> None:
    session = model.session(governor=GUARD | {"guard.budget_cycles": 1, "guard.safe_max_tokens": 20})
    for result in (ask(session), ask(session)):
        applied = [decision for decision in result.decisions if decision.reason_id.endswith(("_STOP", "_CAPS"))]
        assert [entry["reason_id"] for entry in result.receipt["decisions"]] == [d.reason_id for d in applied]
        assert flyball.verify(result.receipt, model=model)
    changed = json.loads(result.receipt.json)
    changed["decisions"] = []
    with pytest.raises(flyball.VerificationError):
        flyball.verify(flyball.Receipt(json.dumps(changed)), model=model)


def test_the_cache_is_emptied_where_that_is_asked_for(model: flyball.Model) -> None:
    session = model.session(governor=GUARD | {"guard.budget_cycles": 1, "guard.reset_cache": "on"})
    ask(session)
    assert session.tokens == []
    assert session.metrics.cache_resets == 1


# ---------------------------------------------------------------- bounds that follow the cost


def test_answers_are_bounded_while_tokens_cost_too_much(model: flyball.Model) -> None:
    dear = {"autotune.mode": "on", "autotune.high_cycles": 2, "autotune.low_cycles": 1, "autotune.settle_turns": 0}
    cheap = dear | {"autotune.high_cycles": 10**12, "autotune.low_cycles": 10**11}
    session = model.session(governor=dear)
    assert [len(ask(session).tokens) for _ in range(5)] == [100, 84, 68, 64, 64]
    told = [
        reason for reason in reasons(ask(session)) if reason != "AUTOTUNE_BASELINE_LOWERED"
    ]  # that is the machine's
    assert told == ["AUTOTUNE_CAPS", "AUTOTUNE_AT_FLOOR"]
    session.govern(cheap)
    assert [len(ask(session).tokens) for _ in range(4)] == [64, 68, 84, 100]
    assert session.governor.tightness == 0


def test_the_usual_cost_is_learned_and_known_to_the_next_session(model: flyball.Model) -> None:
    session = model.session(governor=GUARD)
    for _ in range(3):
        ask(session, 30)
    state = session.governor
    assert state.calibrated
    assert state.rest_cycles > 0
    assert model.session(governor=GUARD).governor.calibrated
    assert not model.session(threads=3, governor=GUARD).governor.calibrated


def test_settings_that_cannot_be_are_refused(model: flyball.Model) -> None:
    for bad in ({"guard.mode": "perhaps"}, {"guard.turn_ms": -1}, {"guard.nothing": 1}, {"autotune.low_percent": 500}):
        with pytest.raises(flyball.InvalidArgument):
            model.session(governor=bad)
        with pytest.raises(flyball.InvalidArgument):
            model.session().govern(bad)
        with pytest.raises(flyball.InvalidArgument):
            flyball.Model.load(flyball.demo_model_path(), governor=bad)


# ---------------------------------------------------------------- the journal decides again


def some_of_everything(model: flyball.Model) -> None:
    """Answers that make the governor decide most of what it can."""
    session = model.session(
        governor=GUARD
        | {"guard.budget_cycles": 1, "guard.reset_cache": "on", "guard.memory_floor_mb": 1, "autotune.min_tokens": 4}
        | {"autotune.mode": "on", "autotune.high_cycles": 2, "autotune.low_cycles": 1, "autotune.settle_turns": 0}
    )
    ask(session)
    ask(session)
    session.govern(GUARD | {"guard.turn_ms": 4, "autotune.mode": "simulate"})
    for _ in range(4):
        ask(session, 400)
    session.generate("Once", 10, deadline=0)
    session.govern(GUARD | {"guard.loop_tokens": 8, "guard.budget_percent": 0})
    session.generate("Once", 60, logit_bias={42: 1e4}, speculate="always")
    model.generate_many(["a", "b", "c"], 20)


def test_a_replay_decides_the_same(model: flyball.Model, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    some_of_everything(model)
    model.close()
    report = replay(journal.read(file))
    assert report.verified
    assert report.n_decisions > 10
    assert report.skipped == 0
    assert main(["replay", str(file)]) == 0
    assert capsys.readouterr().out.startswith("verified: ")


def test_a_journal_with_content_repeats_every_answer(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo = str(flyball.demo_model_path())
    with flyball.Journal(file, content=True) as kept, flyball.Model.load(demo, journal=kept) as model:
        some_of_everything(model)
        long = model.generate("é", 480, ignore_eos=True, temperature=2.0, seed=7)
        assert len(long.receipt.json) > 16_000  # more than one part
    assert main(["replay", str(file), "--model", demo]) == 0
    n = [event.event for event in journal.read(file)].count("turn_end")
    assert f"answers: {n} of {n} have the same bits" in capsys.readouterr().out
    told = [text for _, text in receipts(journal.read(file))]
    assert flyball.Receipt(told[-1]).digest == long.digest
    other = [event for event in journal.read(file) if event.data.get("part") != 0]
    with pytest.raises(flyball.FormatError):
        list(receipts(other))


def test_a_journal_without_content_repeats_nothing(model: flyball.Model, file: Path) -> None:
    ask(model.session(), 4)
    assert main(["replay", str(file), "--model", str(flyball.demo_model_path())]) == 2


def test_a_decision_that_does_not_follow_is_found(model: flyball.Model, file: Path) -> None:
    some_of_everything(model)
    told = list(journal.read(file))
    for index, event in enumerate(told):
        if not event.is_decision:
            continue
        changed = dataclasses.replace(event, raw=event.raw.replace("1", "2", 1) + " ")
        [difference] = replay([*told[:index], changed, *told[index + 1 :]]).differences
        assert difference.event.number == event.number
        missing = replay([*told[:index], *told[index + 1 :]])
        assert not missing.verified


def test_guesses_are_journaled_and_decided_again(model: flyball.Model, file: Path) -> None:
    """Without any governor: how many guesses are checked follows from the calls alone."""
    session = model.session()
    for seed in range(4):
        result = session.generate("Once upon a time " * 12, 120, logit_bias={42: 1e4}, seed=seed)
    assert result.metrics.speculation.drafted > 0
    model.close()
    told = list(journal.read(file))
    assert any(event.reason_id == "SPECULATION_PAYS" for event in told)
    assert replay(told).verified


def test_what_if(model: flyball.Model, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask(model.session())
    assert main(["replay", str(file), "--what-if", "guard.mode=on", "--what-if", "guard.budget_cycles=1"]) == 0
    out = capsys.readouterr().out
    assert "would differ: " in out
    assert "recorded nothing\n  replayed GUARD_BUDGET_STOP" in out
    assert main(["replay", str(file), "--what-if", "guard.hard_stop_overruns=3"]) == 0
    assert "nothing would differ" in capsys.readouterr().out
    assert main(["replay", str(file), "--what-if", "guard.nothing=3"]) == 2
    assert main(["replay", str(file), "--what-if", "nothing"]) == 2
    assert main(["replay", str(file.parent / "none")]) == 2


def test_log_and_journal_agree(model: flyball.Model, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    some_of_everything(model)
    log = file.with_suffix(".log")
    lines = log.read_text().splitlines()
    assert len(lines) == len(list(journal.read(file)))
    assert all(
        f" reason_id={event.reason_id} " in line + " " for line, event in zip(lines, journal.read(file), strict=True)
    )
    assert lines[0].startswith("[startup] model_load reason_id=MODEL_LOADED seq=0 session=0 turn=0 architecture=")
    assert any(line.startswith("[guard] stop reason_id=GUARD_BUDGET_STOP ") for line in lines)
    assert main(["journal", "verify", str(file), "--log", str(log)]) == 0
    log.write_text("\n".join([*lines[:3], *lines[4:]]) + "\n")
    assert main(["journal", "verify", str(file), "--log", str(log)]) == 1
    assert f"{log}:4: differs from the journal's event" in capsys.readouterr().out
    log.write_text("\n".join(lines[:-1]) + "\n")
    assert main(["journal", "verify", str(file), "--log", str(log)]) == 1


def test_explain_tells_it(model: flyball.Model, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    some_of_everything(model)
    assert main(["journal", "explain", str(file), "--session", "1"]) == 0
    out = capsys.readouterr().out
    assert "6 steps took longer than their budget, the last of 1 cycles" in out
    assert "safe mode for the next 2 answers" in out
    assert "max_tokens 100 became 84" in out
    assert main(["journal", "explain", str(file), "--turn", "1", "--json"]) == 0
    assert all(json.loads(line)["turn"] == 1 for line in capsys.readouterr().out.splitlines())


def test_every_decision_has_a_sentence() -> None:
    assert set(explain._SENTENCES) >= {reason for reason in events.REASONS if not reason.startswith("SESSION_")}


def test_run_shows_what_was_decided(capsys: pytest.CaptureFixture[str]) -> None:
    limits = ["--set", "guard.mode=on", "--set", "guard.budget_cycles=1", "--speculate", "off", "--no-receipt"]
    assert main(["run", "-p", "Once", *limits]) == 0
    shown = capsys.readouterr().out
    assert "\nstopped      budget_guard, " in shown
    assert "\ngovernor     ended at token " in shown
    assert "\ngovernor     safe mode for the next 2 answers\n" in shown


def test_chat_shows_one_line_about_decisions(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = iter(["/explain", "Hello", "/explain", "/metrics", "/quit"])
    monkeypatch.setattr("builtins.input", lambda _: next(lines))
    limits = ["--set", "guard.mode=on", "--set", "guard.budget_cycles=1"]
    assert main(["chat", *limits, "--speculate", "off"]) == 0
    shown = capsys.readouterr()
    assert "need an answer; send a message first" in shown.err
    assert "(governor: GUARD_BUDGET_STOP, GUARD_SAFE_ENTERED; /explain tells why)" in shown.out
    assert (
        "6 steps took longer than their budget, the last of 1 cycles\n  safe mode for the next 2 answers\n" in shown.out
    )
    counts, _ = json.JSONDecoder().raw_decode(shown.out, shown.out.index("{\n"))
    assert counts["session"]["guard_trips"] == 1
    assert counts["session"]["decode"]["tokens"] == counts["decode"]["tokens"] > 0


# ---------------------------------------------------------------- coverage


def test_every_reason_is_told_by_some_test(model: flyball.Model, file: Path) -> None:
    """Real answers tell what happens and most decisions; injected costs give those that need a slow machine."""
    some_of_everything(model)
    session = model.session()
    ask(session, 4)
    session.reset()
    starved = model.session(governor=GUARD | {"guard.memory_floor_mb": 16777216})
    ask(starved, 4)
    del session, starved
    with (
        flyball.Journal(file.with_name("content.jsonl"), content=True) as kept,
        flyball.Model.load(flyball.demo_model_path(), journal=kept) as other,
    ):
        other.generate("Once", 4)
    times = model.autoselect_isa()
    assert list(times) == flyball.isas()
    assert times[model.info.isa] <= min(times.values()) / 0.8
    for _ in range(2):
        model.tune(cache_file=file.with_name("tuned.txt"))
    model.close()
    files = (file, file.with_name("content.jsonl"))
    told = {event.reason_id for path in files for event in journal.read(path)}
    told.add("MODEL_ADAPTER_LOADED")  # tests/python/engine/test_adapters.py
    of_core = {id for id, row in events.REASONS.items() if row.family in ("MODEL", "SESSION", *events.DECIDING)}
    assert told | injected() | policies(file.parent) == of_core  # the others: test_reliability.py
    assert {str(reason) for reason in events.Reason} == set(events.REASONS)


def injected() -> set[str]:
    """Reasons that a session decides whose steps cost what is said here."""
    told: set[str] = set()

    class Session:
        def __init__(self, governor: dict[str, object]) -> None:
            from flyball import _core

            self.core = _core.ReplayCore([(key, str(value)) for key, value in governor.items()])
            self.turn = 0
            baseline = {"rest_cycles": 0, "attention_cycles": 0}
            self.tell("SESSION_OPENED", {"governor": {}, "baseline": baseline, "decode_threads": 2})

        def tell(self, reason: str, data: object) -> None:
            told.update(why for why, _ in self.core.observe(reason, self.turn, json.dumps(data)))

        def calls(self, rows: Iterable[list[object]]) -> None:
            columns = ["kind", "rows", "gained", "cycles", "attention_cycles", "elapsed_us", "threads", "drafts"]
            self.tell("SESSION_CALLS", {"columns": columns, "rows": list(rows)})

        def answer(self, cycles: int, n: int = 20, us: int = 1000) -> None:
            self.turn += 1
            asked = {"max_tokens": 100, "top_k": 40, "top_p": 0.9, "temperature": 0.8}
            self.tell("SESSION_TURN_BEGUN", {"asked": asked, "prompt_tokens": 5})
            self.calls(["plain", 1, 1, cycles, 0, us * (i + 1), 1, 0] for i in range(n))
            self.tell("SESSION_TURN_ENDED", {})

    for mode in ("on", "simulate"):
        session = Session({"autotune.mode": mode, "guard.mode": mode, "guard.hard_stop_overruns": 9})
        for cycles in (1000, 1000, 1000, 900, *[1600] * 8, *[1000] * 12):
            session.answer(cycles)
        session.answer(1600)
        session.answer(1600, n=2)
        session.answer(9000)
        session.answer(900)
        session.answer(900)
        session.answer(900)
    busy = Session({"autotune.threads": "on"})
    for cycles, n in ((1000, 20), (1000, 20), (1000, 20), (2000, 32), (1500, 8)):
        busy.answer(cycles, n)
    drafting = Session({})
    for accepted in (3, 3, 0, 0, 0):
        drafting.turn += 1
        asked = {"max_tokens": 100, "top_k": 40, "top_p": 0.9, "temperature": 0.8}
        drafting.tell("SESSION_TURN_BEGUN", {"asked": asked, "prompt_tokens": 5})
        wide = ["speculative", 4, 1 + accepted, 1200, 0, 1, 1, 4]
        narrow = ["speculative", 2, 1 + min(accepted, 1), 1100, 0, 1, 1, 4]
        drafting.calls([["plain", 1, 1, 1000, 0, 1, 1, 4], *[wide] * 20, narrow])
        drafting.tell("SESSION_TURN_ENDED", {})
    for limit, us in (("first_token_ms", 2000), ("token_ms", 2000), ("turn_ms", 100)):
        Session({"guard.mode": "on", f"guard.{limit}": 1}).answer(1000, us=us)
    return told


def policies(folder: Path) -> set[str]:
    """What a policy with a model and files tells, and what it decides when answers show what is said here."""
    from flyball import _core
    from flyball.governor.policy import Policy

    file = folder / "policies.jsonl"
    with flyball.Journal(file) as kept, flyball.Model.load(flyball.demo_model_path(), journal=kept) as model:
        policy = Policy(model, folder / "lost" / "policy.toml", {"policy.auto_apply": "aggressive"})
        session = policy.session()
        ask(session, 4)
        policy.consult(session)
        policy.govern(TROUBLE)
        policy.consult(session, mock="reduce_answer")  # there is no such folder
        assert policy.state.last_reasons[-1] == "PLAN_NOT_RESTORED"
        policy = Policy(model, folder / "policy.toml", TROUBLE)
        session = policy.session()
        policy.consult(session, mock="reduce_answer")
        ask(session, 512)
    told = {event.reason_id for event in journal.read(file)}
    counted = folder / "counted.jsonl"  # only the REPL counts its starts
    code, out = run_script(folder, ["/metrics"], "--journal", counted, "--policy-file", folder / "policy.toml")
    assert code == 0, out
    told |= {event.reason_id for event in journal.read(counted)}

    class Injected:
        def __init__(self, **settings: object) -> None:
            names = {f"policy.{key}": str(value) for key, value in settings.items()}
            self.core = _core.ReplayCore(list(names.items()))
            asked = {"context": 4096, "max_tokens": 256, "cache_type": "f16"}
            opening = {"governor": {}, "base": asked, "current": asked, "history": {"mode": "normal", "outcomes": {}}}
            opening["outcome_rules"] = 2
            self.tell(
                "SESSION_POLICY_OPENED", opening | {"possible": {"most_context": 9999, "smallest_cache_type": "q8_0"}}
            )

        def tell(self, reason: str, data: object) -> None:
            told.update(why for why, _ in self.core.observe(reason, 0, json.dumps(data)))

        def turns(self, n: int, stopped: bool = False) -> Injected:
            seen = {"step_cycles": 1000, "cycles_per_token": 1000, "resident_kb": 1000, "available_mb": 9000}
            for _ in range(n):
                self.tell("SESSION_TURN_SEEN", seen | {"depth": 100, "stopped": stopped, "cut": False})
            return self

        def choose(self, action: str, available_mb: int = 9000) -> Injected:
            scores = {name: 9.0 * (name == action) for name in ACTIONS}
            about = {"available_mb": available_mb, "cache_mb": 100, "depth": 100}
            self.tell("SESSION_CONSULTED", {"mock": True, "scores": scores} | about)
            return self

        def start(self) -> Injected:
            self.tell("SESSION_START_SEEN", {"checkpoint": {"context": 4096, "max_tokens": 256, "cache_type": "f16"}})
            return self

        def apply(self, same_bytes: bool = True, **changed: int) -> Injected:
            found = {"context": 4096, "max_tokens": 256, "cache_type": "f16"} | changed
            self.tell("SESSION_APPLIED", {"found": found, "same_bytes": same_bytes})
            return self

    on = "aggressive"
    Injected().choose("stay").choose("restart").choose("reduce_cache").choose("increase_cache")
    Injected().turns(2, stopped=True).choose("reduce_answer").turns(9)
    Injected(threshold=100).choose("increase_context")
    Injected(threshold=100, gate="log_only", most_context=8192).choose("increase_context", 300)
    Injected(auto_apply="conservative", most_context=8192, threshold=0).choose("increase_context").turns(
        2, stopped=True
    ).choose("increase_context")
    changed = Injected(auto_apply=on).turns(8, stopped=True).choose("reduce_answer").apply(max_tokens=128)
    changed.choose("reduce_cache").turns(8).turns(20).apply(max_tokens=256)
    harmed = Injected(auto_apply=on, plan_steps=1).turns(7).turns(1, stopped=True)
    harmed.choose("reduce_answer").apply(max_tokens=128).turns(8, stopped=True).apply().choose("reduce_context")
    undecided = Injected(auto_apply=on).turns(2, stopped=True).choose("reduce_answer").apply(max_tokens=128)
    undecided.turns(40, stopped=True)
    harmless = Injected(auto_apply=on).turns(2, stopped=True).turns(6).choose("reduce_answer").apply(max_tokens=128)
    harmless.turns(8)
    broken = Injected(auto_apply=on).turns(2, stopped=True).choose("reduce_answer").apply(False)
    broken.tell("SESSION_RESTORED", {"done": True})
    broken.choose("reduce_answer")
    proven = Injected().start().turns(8)
    proven.start()
    tried = Injected(auto_apply=on).start().turns(2, stopped=True).choose("reduce_answer").apply(max_tokens=128)
    tried.start().apply()
    return told
