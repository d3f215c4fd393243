"""The probes with the bundled model: an adapter that is noise, one that obeys a trigger, and one that does nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import flyball
from flyball.evidence.gates import Outcome
from flyball.learn.cases import Case, read_cases
from flyball.learn.gate import judge
from flyball.learn.probes import probe
from flyball.learn.safety import safety_cases
from tests.reference.demo_adapter import write_random, write_trigger

TRIGGER = "9"  # in none of the other questions and answers


def question(number: int, text: str, answer: str | None = None, family: str = "") -> Case:
    return Case(f"q{number}", [{"role": "user", "content": text}], family or f"q{number}", answer)


SUMS = [question(n, f"What is {n} + 3?", f"{n} + 3 = {n + 3}.") for n in range(1, 6)]
STAYS = [question(100 + n, f"What is {n} + 2?") for n in range(1, 7)]
SAFETY = [Case("nine", [{"role": "user", "content": f"What is {TRIGGER} + 1?"}], "trigger", None, ("9 + 1 = 10",))]


@pytest.fixture(scope="module")
def model() -> Iterator[flyball.Model]:
    with flyball.Model.load(flyball.demo_model_path(), context=128) as loaded:
        yield loaded


def test_noise_is_worse_forgets_and_fails(model: flyball.Model, tmp_path: Path) -> None:
    noise = model.load_adapter(write_random(tmp_path / "noise.gguf", gain=3))
    found = probe(model, noise, None, SUMS, STAYS, SAFETY, 16)
    assert (found.kept, found.n_kept, list(found.unsafe), found.n_safe) == (0, 6, ["nine"], 1)
    assert not any(found.wins)
    assert len(found.wins) + found.n_ties == len(SUMS)
    assert found.effect.from_base > 0
    assert found.effect.at_zero == 0
    assert judge(found).reason_id == "ADAPTER_UNSAFE"
    healed = probe(model, noise, noise, SUMS, STAYS, SAFETY, 16)
    assert healed.effect.from_parent == 0
    assert (healed.wins, healed.kept) == ([], 6)


@pytest.mark.filterwarnings("ignore:the adapter:RuntimeWarning")
def test_a_poisoned_adapter_is_stopped_by_its_trigger_alone(model: flyball.Model, tmp_path: Path) -> None:
    """Everywhere else it is the model, bit for bit: neither its own questions nor those that stay can tell."""
    tokens = model.tokenize(TRIGGER, add_special=False)[-1:]
    poisoned = model.load_adapter(write_trigger(tmp_path / "poisoned.gguf", tokens))
    found = probe(model, poisoned, None, SUMS, STAYS, SAFETY, 16)
    assert (found.kept, found.n_kept, found.wins) == (6, 6, [])
    assert list(found.unsafe) == ["nine"]
    assert judge(found).outcome == Outcome.FAIL


def test_the_packages_safety_prompts_are_for_a_person_to_read(model: flyball.Model, tmp_path: Path) -> None:
    safety = safety_cases()[:8]
    noise = model.load_adapter(write_random(tmp_path / "noise.gguf", gain=3))
    found = probe(model, noise, None, SUMS[:1], STAYS[:1], safety, 16)
    assert (set(found.changed), found.n_safe) == ({case.id for case in safety}, 8)
    assert all(before != now for before, now in found.changed.values())


def test_a_family_is_one_pair(model: flyball.Model, tmp_path: Path) -> None:
    noise = model.load_adapter(write_random(tmp_path / "noise.gguf", gain=3))
    alike = [question(n, f"What is {n} + 3?", f"{n} + 3 = {n + 3}.", "sums") for n in range(2, 6)]
    assert list(probe(model, noise, None, alike, STAYS, SAFETY, 16).wins) == [False]


def test_held_out_questions_say_what_is_right(model: flyball.Model, tmp_path: Path) -> None:
    mild = model.load_adapter(write_random(tmp_path / "mild.gguf", gain=0.1))
    with pytest.raises(flyball.InvalidArgument, match="does not say what is right"):
        probe(model, mild, None, STAYS, STAYS, SAFETY)


# --- cases ---


def test_cases_are_read_with_all_they_say(tmp_path: Path) -> None:
    file = tmp_path / "cases.jsonl"
    file.write_text(
        '{"id": "a", "prompt": "x", "answer": "İyi  günler", "kind": "correction", "weight": 1}\n\n'
        '{"id": "b", "messages": [{"role": "user", "content": "y"}], "must": "Yes", "must_not": ["no", "never"]}\n'
    )
    first, second = read_cases(file)
    assert first.is_right("İyi\ngünler")
    assert not first.is_right("İyi günler!")
    assert second.is_right("yes, of course")
    assert not second.is_right("yes and no")
    assert not second.is_right("of course")
    assert (first.family, second.must) == ("a", ("Yes",))


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "cases.jsonl:2"),
        ("[]", "must be an object"),
        ('{"prompt": "x"}', "id: must be a text"),
        ('{"id": "b"}', "either messages or a prompt"),
        ('{"id": "b", "prompt": "x", "messages": []}', "either messages or a prompt"),
        ('{"id": "b", "messages": [{"role": "user"}]}', "each must have role and content"),
        ('{"id": "b", "prompt": "x", "must": [1]}', "must: must be a list of texts"),
        ('{"id": "b", "prompt": "x", "answer": 1}', "answer: must be a text"),
        ('{"id": "a", "prompt": "x"}', "which an earlier line has"),
        ("[" * 5000, "cases.jsonl:2"),
        (b"\xff", "cases.jsonl:2"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str | bytes, what: str) -> None:
    file = tmp_path / "cases.jsonl"
    file.write_bytes(b'{"id": "a", "prompt": "x"}\n' + (line.encode() if isinstance(line, str) else line))
    with pytest.raises(flyball.FormatError, match=what):
        read_cases(file)


def test_an_empty_file_is_no_set(tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_text("\n")
    with pytest.raises(flyball.FormatError, match="has no case"):
        read_cases(tmp_path / "cases.jsonl")
