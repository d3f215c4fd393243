"""Each scenario runs on the bundled model; its answers are valid in their forms, and its receipts verify."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

import flyball
from flyball.bench import results
from flyball.errors import ContextFull, FormatError, InternalError
from flyball.slo import record
from flyball.slo.run import Measured, once
from flyball.slo.scenarios import LABELS, ORDER, SCENARIOS, Prepared, call_schema, prepare

WITH_CALLS = (
    "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for call in m.tool_calls or [] %}{{ '\n' }}<tool_call>\n"
    '{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}\n</tool_call>'
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def of(measured: list[Measured], name: str) -> Measured:
    return next(one for one in measured if one.scenario.name == name)


@pytest.mark.parametrize("name", SCENARIOS)
def test_receipts_of_every_answer_verify(
    recorded: Path, measured: list[Measured], demo: flyball.Model, name: str
) -> None:
    case = record.read_all(recorded)[0].cases[name]
    scenario = SCENARIOS[name]
    assert len(case.receipts) == max(len(scenario.clients), len(scenario.turns))
    assert record.receipts_of(recorded, case) == (len(case.receipts), [])
    for file, answer in zip(case.receipts, of(measured, name).answers, strict=True):
        receipt = flyball.Receipt.load(recorded / file)
        assert receipt.digest == answer.digest
        assert flyball.verify(receipt, demo)


def test_answers_under_a_schema_are_valid(measured: list[Measured]) -> None:
    value = json.loads(of(measured, "json-extraction").answers[0].text)
    jsonschema.validate(value, ORDER)


def test_a_tool_call_is_valid(measured: list[Measured]) -> None:
    call = json.loads(of(measured, "tool-call").answers[0].text)
    jsonschema.validate(call, call_schema())
    assert call["name"] == "get_weather"


def test_a_classification_is_one_of_the_labels(measured: list[Measured]) -> None:
    assert of(measured, "classification").answers[0].text in LABELS


def test_a_model_with_calls_in_its_template_writes_them(demo: flyball.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    form = demo.chat_format(WITH_CALLS)
    monkeypatch.setattr(flyball.Model, "chat_format", lambda *_: form)
    prepared = prepare(SCENARIOS["tool-call"], demo)
    assert prepared.tools
    _, answers = once(demo, prepared)
    parser = form.parser(prepared.prompts[0], prepared.tools)
    parser.feed(None, answers[0].text)
    parser.finish()
    (call,) = parser.answer.tool_calls
    assert call.name == "get_weather"
    jsonschema.validate(dict(call.mapping), call_schema()["properties"]["arguments"])


def test_the_long_document_fills_the_context(demo: flyball.Model) -> None:
    scenario = SCENARIOS["long-document"]
    tokens = len(prepare(scenario, demo).prompts[0])
    assert 0.8 * demo.info.context_length < tokens <= demo.info.context_length - scenario.max_tokens
    with flyball.Model.load(flyball.demo_model_path(), context=256) as smaller:
        assert len(prepare(scenario, smaller).prompts[0]) <= 256 - scenario.max_tokens


def test_a_context_without_room_is_refused(demo: flyball.Model) -> None:
    with pytest.raises(ContextFull, match="does not fit"):
        prepare(replace(SCENARIOS["page-summary"], max_tokens=480), demo)


def test_several_turns_and_clients_have_an_answer_each(demo: flyball.Model, measured: list[Measured]) -> None:
    prepared: Prepared = prepare(SCENARIOS["eight-clients"], demo)
    assert len(prepared.prompts) == len(of(measured, "eight-clients").answers) == 8
    assert len(of(measured, "multi-turn-chat").answers) == 3


def test_a_run_is_a_file_of_results(recorded: Path) -> None:
    """So that `flyball bench compare` reads it."""
    (path,) = recorded.glob("scenarios-*.json")
    found = results.read(path)
    assert isinstance(found, results.Results)
    assert list(found.cases) == list(SCENARIOS)
    assert all(case.counters["generated_tokens"] > 0 for case in found.cases.values())


def test_another_answer_in_a_repeated_run_is_refused(measured: list[Measured]) -> None:
    one = of(measured, "short-question")
    other = Measured(one.scenario, list(one.samples))
    with pytest.raises(InternalError, match="another answer"):
        other.take(replace(one.samples[0], digests=("0" * 64,)), one.answers)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda d: d.pop("time"), "time is missing"),
        (lambda d: d["cases"]["tool-call"].pop("scenario"), "scenario is missing"),
        (lambda d: d["cases"]["tool-call"]["scenario"].update(cycles=[]), "cycles has 0 numbers"),
        (lambda d: d["cases"]["tool-call"]["scenario"].update(reference_ms=[0]), "positive"),
        (lambda d: d["cases"]["tool-call"]["scenario"].update(receipts=[{"file": "../x.json"}]), "receipts has"),
        (lambda d: d.update(schema=9), "schema is 9"),
    ],
)
def test_damaged_runs_are_errors(recorded: Path, tmp_path: Path, change: object, what: str) -> None:
    (path,) = recorded.glob("scenarios-*.json")
    document = json.loads(path.read_text())
    change(document)  # type: ignore[operator]
    (tmp_path / path.name).write_text(json.dumps(document))
    with pytest.raises(FormatError, match=what):
        record.read_all(tmp_path)


def test_receipts_that_are_gone_or_altered_are_told(recorded: Path, tmp_path: Path) -> None:
    case = record.read_all(recorded)[0].cases["multi-turn-chat"]
    folder = tmp_path / record.RECEIPTS
    folder.mkdir()
    (tmp_path / case.receipts[0]).write_bytes((recorded / case.receipts[0]).read_bytes())
    (tmp_path / case.receipts[1]).write_bytes((recorded / case.receipts[0]).read_bytes())
    good, wrong = record.receipts_of(tmp_path, case)
    assert good == 1
    assert "another digest" in wrong[0]
    assert "does not exist" in wrong[1]
