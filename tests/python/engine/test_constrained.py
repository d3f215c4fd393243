"""Answers under a constraint: valid and the same bits on every path, checked from receipts, an error when it fails."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import flyball
from flyball.cli import main
from flyball.constraints import library
from flyball.constraints.constraint import Constraint
from flyball.journal.journal import read
from flyball.journal.replay import receipts

from ..constraints.schemas import SCHEMAS

PROMPT = "Once upon a time"
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
N_DOCUMENTS = int(os.environ.get("FLYBALL_DOCUMENTS", "3"))  # of each schema
LETTERS = Constraint.regex("[a-c]{30}")


@pytest.mark.parametrize("number", range(len(SCHEMAS)))
def test_what_a_schema_admits_is_valid(demo: flyball.Model, number: int) -> None:
    schema = SCHEMAS[number]
    jsonschema.Draft202012Validator.check_schema(schema)
    each = [{"seed": seed, "temperature": (2.0, 0.8)[seed % 2] if seed else 0} for seed in range(N_DOCUMENTS)]
    for result in demo.generate_many([PROMPT] * N_DOCUMENTS, 300, json_schema=schema, each=each):
        assert result.stop_reason == "eos", result.text
        jsonschema.validate(json.loads(result.text), schema, format_checker=jsonschema.FormatChecker())


@pytest.mark.parametrize(
    ("constraint", "texts"),
    [
        (Constraint.choice(["yes", "no", 'may"be\n', "é😀"]), 'yes|no|may"be\n|é😀'),
        (Constraint.regex(r"[a-z]{3} [0-9]+\."), r"[a-z]{3} [0-9]+\."),
        (Constraint.gbnf('root ::= "a"{2,3} [^b\\n] "\\"" ("x" | "y"){1,4}'), r'a{2,3}[^b\n]"[xy]{1,4}'),
        (Constraint.lark('start: "foo" DIGITS\nDIGITS: /[0-9]{3}/'), "foo[0-9]{3}"),
        (Constraint.lark('start: "not json {"'), r"not json \{"),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_every_kind(demo: flyball.Model, constraint: Constraint, texts: str) -> None:
    import re

    for seed in range(3):
        result = demo.generate(PROMPT, 60, constraint=constraint, seed=seed, temperature=1.5)
        assert result.stop_reason == "eos"
        assert re.fullmatch(texts, result.text)
        assert flyball.verify(result.receipt, model=demo)


def test_any_object(demo: flyball.Model) -> None:
    result = demo.generate(PROMPT, 20, constraint=Constraint.json_object(), seed=1)
    assert result.text.startswith("{")


def test_an_answer_that_is_cut_is_a_beginning(demo: flyball.Model) -> None:
    whole = demo.generate(PROMPT, 200, json_schema=PERSON, seed=3)
    assert whole.stop_reason == "eos"
    cut = demo.generate(PROMPT, 5, json_schema=PERSON, seed=3)
    assert cut.stop_reason == "max_tokens"
    assert whole.text.startswith(cut.text)
    stopped = demo.generate(PROMPT, 200, json_schema=PERSON, seed=3, stop='"age"')
    assert stopped.stop_reason == "stop_string"
    assert whole.text.startswith(stopped.text)


# ---------------------------------------------------------------- the same bits


def test_drafts_change_nothing(demo: flyball.Model) -> None:
    plain = demo.generate(PROMPT, 100, json_schema=PERSON, seed=5, speculate="off")
    how: list[Any] = [{"speculate": "auto"}, {"speculate": "always"}, {"speculate": "always", "draft": demo}]
    for options in how:
        drafted = demo.generate(PROMPT, 100, json_schema=PERSON, seed=5, **options)
        assert drafted.digest == plain.digest
        assert drafted.logprobs == plain.logprobs
    counts = drafted.metrics.speculation
    assert 0 < counts.accepted < counts.drafted  # the draft model has no constraint


@pytest.mark.parametrize("how", ["stream", "batch", "asyncio", "astream", "session"])
def test_the_same_on_every_path(demo: flyball.Model, how: str) -> None:
    options: dict[str, Any] = {"seed": 2, "json_schema": json.dumps(PERSON)}
    result = demo.generate(PROMPT, 60, **options)
    if how == "stream":
        with demo.stream(PROMPT, 60, **options) as stream:
            assert "".join(piece.text for piece in stream) == result.text
        other = stream.result
    elif how == "batch":
        each: list[Mapping[str, Any]] = [{}, {"json_schema": None, "grammar": "root ::= [a-z]+"}, {"json_schema": None}]
        other, letters, free = demo.generate_many([PROMPT, "The fox", "The fox"], 60, each=each, **options)
        assert letters.text.isalpha()
        assert free.digest == demo.generate("The fox", 60, seed=2).digest
    elif how == "asyncio":
        other = asyncio.run(demo.agenerate(PROMPT, 60, **options))
    elif how == "astream":

        async def last() -> flyball.Result:
            async with demo.astream(PROMPT, 60, **options) as stream:
                async for _ in stream:
                    pass
            return stream.result

        other = asyncio.run(last())
    else:
        other = demo.session().generate(PROMPT, 60, **options)
    assert other.digest == result.digest


def test_logprobs_are_those_before_the_mask(demo: flyball.Model) -> None:
    result = demo.generate(PROMPT, 24, constraint=LETTERS, seed=1, top_logprobs=3)
    score = demo.score([*result.prompt, *result.tokens], top_logprobs=3)
    assert score.logprobs[-len(result.tokens) :] == result.logprobs
    assert score.top_logprobs[-len(result.tokens) :] == result.top_logprobs
    assert any(entry.text.strip("abc") for top in result.top_logprobs for entry in top)


def test_answers_without_one_keep_version_and_digest(demo: flyball.Model) -> None:
    plain = demo.generate(PROMPT, 8, seed=3)
    assert plain.receipt["schema_version"] == 1
    assert "constraint" not in plain.receipt
    given = demo.generate(PROMPT, 8, seed=3, constraint=None, json_schema=None, grammar=None)
    assert given.digest == plain.digest


def test_settings_never_allow_again(demo: flyball.Model) -> None:
    bans = dict.fromkeys(range(demo.info.n_vocab), float("-inf"))
    bias = dict.fromkeys(range(0, demo.info.n_vocab, 2), 100.0)
    for options in ({"logit_bias": bias}, {"logit_bias": bans}, {"no_repeat_ngram": 1, "repeat_penalty": 5.0}):
        result = demo.generate(PROMPT, 12, constraint=LETTERS, **options)
        assert not result.text.strip("abc")


def test_beside_a_logits_processor(demo: flyball.Model) -> None:
    def only_seven(ids: Any, logits: Any) -> None:
        logits[np.arange(len(logits)) != 7] = -np.inf

    with pytest.raises(flyball.InvalidArgument, match="no token that the logits processor has left"):
        demo.generate(PROMPT, 4, constraint=LETTERS, logits_processor=only_seven)
    result = demo.generate(PROMPT, 4, constraint=LETTERS, logits_processor=lambda ids, logits: -logits, seed=1)
    assert not result.text.strip("abc")
    with pytest.raises(flyball.Unsupported, match="logits_processor"):
        flyball.verify(result.receipt, model=demo)


# ---------------------------------------------------------------- requests that are none


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"json_schema": {}, "grammar": "root ::= [a]"}, "one constraint"),
        ({"constraint": "a"}, "must be a Constraint"),
        ({"constraint": LETTERS, "ignore_eos": True}, "ignore_eos: does not go with a constraint"),
        ({"json_schema": {"not": {}}}, r"json_schema: \$.not: keyword is not supported"),
    ],
)
def test_a_request_is_refused_before_it_is_computed(demo: flyball.Model, options: Any, message: str) -> None:
    with pytest.raises(flyball.Error, match=message):
        demo.generate(PROMPT, 2, **options)
    with pytest.raises(flyball.Error, match=message):
        demo.astream(PROMPT, 2, **options)
    with pytest.raises(flyball.Error, match=rf"prompts\[1\]: .*{message.rpartition(': ')[2]}"):
        demo.generate_many([PROMPT, PROMPT], 2, each=[{}, options])


# ---------------------------------------------------------------- it fails closed


class Broken:
    """Masks that go wrong after some tokens: they raise, allow nothing, or are of another size."""

    kind, library, text = "regex", "broken 1", "b"

    def __init__(self, how: str, after: int, n_tokens: int) -> None:
        self.how, self.left = how, after
        self.mask = np.full((n_tokens + 31) // 32 + (how == "size"), -1, np.int32)

    def compile(self, constraint: Constraint) -> Broken:
        return self

    def start(self) -> Broken:
        return self

    def advance(self, token: int | None) -> None:
        self.left -= 1
        if self.left < 0 and self.how == "raises":
            raise flyball.Unsupported("constraint", "cannot be applied any further: fuel")
        if self.left < 0:
            self.mask[:] = 0


@pytest.fixture
def breaks(demo: flyball.Model, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    def install(how: str, after: int) -> None:
        broken = Broken(how, after, demo._core.info()["n_vocab"])
        monkeypatch.setitem(demo._handle.__dict__, "constraints", broken)

    return install


@pytest.mark.parametrize(("how", "message"), [("raises", "fuel"), ("nothing", "allows no token"), ("size", "words")])
@pytest.mark.parametrize("after", [0, 3])
def test_no_text_without_a_mask(demo: flyball.Model, breaks: Any, how: str, message: str, after: int) -> None:
    breaks(how, after)
    with pytest.raises(flyball.Error, match=f"constraint: .*{message}"):
        demo.generate(PROMPT, 30, constraint=LETTERS)


def test_a_failed_stream_stays_failed(demo: flyball.Model, breaks: Any) -> None:
    breaks("raises", 2)
    stream = demo.stream(PROMPT, 30, constraint=LETTERS)
    assert [next(stream).token, next(stream).token]
    with pytest.raises(flyball.Unsupported, match="fuel"):
        next(stream)
    with pytest.raises(flyball.InvalidArgument, match="failed before"):
        next(stream)


def test_a_mask_that_nobody_needs_may_fail(demo: flyball.Model, breaks: Any) -> None:
    """That after the last token, which is computed beside the step that gave the token."""
    for _ in range(20):
        breaks("raises", 3)
        assert len(demo.generate(PROMPT, 3, constraint=LETTERS).tokens) == 3


def test_an_error_ends_its_answer_alone(demo: flyball.Model, breaks: Any) -> None:
    breaks("raises", 4)

    async def serve() -> list[flyball.Result | BaseException]:
        jobs = [demo.agenerate(PROMPT, 20, seed=seed) for seed in range(2)]
        guilty = demo.agenerate(PROMPT, 20, constraint=LETTERS)
        return await asyncio.gather(guilty, *jobs, return_exceptions=True)

    failed, *others = asyncio.run(serve())
    assert isinstance(failed, flyball.Unsupported)
    for seed, other in enumerate(others):
        assert isinstance(other, flyball.Result)
        assert other.digest == demo.generate(PROMPT, 20, seed=seed).digest


def test_a_result_keeps_no_masks(demo: flyball.Model, breaks: Any) -> None:
    breaks("nothing", 100)
    alive = weakref.ref(demo._handle.__dict__["constraints"])
    with demo.stream(PROMPT, 4, constraint=LETTERS) as stream:
        next(stream)
    demo._handle.__dict__.pop("constraints")
    gc.collect()
    assert alive() is None
    assert stream.result.receipt["constraint"]["library"] == "broken 1"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_after_a_fork(demo: flyball.Model) -> None:
    expected = demo.generate(PROMPT, 40, constraint=LETTERS, seed=1).tokens
    child = os.fork()
    if not child:
        status = 1
        try:
            status = int(demo.generate(PROMPT, 40, constraint=LETTERS, seed=1).tokens != expected)
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


# ---------------------------------------------------------------- receipts


def test_the_receipt_says_all_that_is_needed(demo: flyball.Model) -> None:
    constraint = Constraint.json_schema(PERSON)
    result = demo.generate(PROMPT, 80, constraint=constraint, seed=3)
    assert result.receipt["schema_version"] == 3
    assert result.receipt["constraint"] == {
        "kind": "json_schema",
        "library": library.name(),
        "sha256": constraint.sha256,
        "text": constraint.text,
    }
    assert flyball.verify(result.receipt, model=demo)
    assert flyball.verify(json.loads(result.receipt.json), model=demo)


def test_forged_receipts_are_found(demo: flyball.Model) -> None:
    receipt = json.loads(demo.generate(PROMPT, 40, constraint=LETTERS, seed=3).receipt.json)
    tokens = list(receipt["tokens"])
    letters = [token for token in range(demo.info.n_vocab) if demo.detokenize([token]) in ("a", "b", "c")]
    tokens[2] = next(token for token in letters if token != tokens[2])  # the grammar would take it
    with pytest.raises(flyball.VerificationError, match="position 2"):
        flyball.verify(receipt | {"tokens": tokens}, model=demo)
    with pytest.raises(flyball.FormatError, match="sha256"):
        flyball.verify(receipt | {"constraint": receipt["constraint"] | {"text": "[a-d]{30}"}}, model=demo)
    other = Constraint.regex("[a-z]{30}")
    loose = {"kind": other.kind, "library": other.library, "sha256": other.sha256, "text": other.text}
    with pytest.raises(flyball.VerificationError, match="changed after it was written"):
        flyball.verify(receipt | {"constraint": loose}, model=demo)
    with pytest.raises(flyball.VerificationError, match="changed after it was written"):
        flyball.verify(receipt | {"schema_version": 2}, model=demo)


def test_another_version_of_the_library_cannot_tell(demo: flyball.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    result = demo.generate(PROMPT, 10, constraint=LETTERS)
    monkeypatch.setattr(library, "name", lambda: "llguidance 9.9.9")
    with pytest.raises(flyball.Unsupported, match=r"llguidance 1\..*llguidance 9\.9\.9 may draw the line elsewhere"):
        flyball.verify(result.receipt, model=demo)


def test_commands(
    demo: flyball.Model, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    schema, saved, path = tmp_path / "person.json", tmp_path / "receipt.json", tmp_path / "journal"
    schema.write_text(json.dumps(PERSON))
    shared = ["run", "-p", PROMPT, "-n", "200", "--json", "--receipt", str(saved), "--set", "tune=off"]
    arguments = ["--json-schema", str(schema), "--journal", str(path), "--journal-content"]
    assert main([*shared, *arguments]) == 0
    jsonschema.validate(json.loads(json.loads(capsys.readouterr().out)["text"]), PERSON)
    assert main(["verify", str(saved)]) == 0
    assert main(["replay", str(path), "--model", str(flyball.demo_model_path())]) == 0
    assert flyball.Receipt(next(receipts(read(path)))[1])["constraint"]["kind"] == "json_schema"
    capsys.readouterr()
    monkeypatch.setattr(library, "name", lambda: "llguidance 9.9.9")
    assert main(["verify", str(saved)]) == 2
    assert "llguidance 9.9.9" in capsys.readouterr().err
    assert main(["replay", str(path), "--model", str(flyball.demo_model_path())]) == 2
    assert "cannot be repeated" in capsys.readouterr().out
    monkeypatch.undo()
    grammar = tmp_path / "letters.gbnf"
    grammar.write_text('root ::= "letters " [a-c]*\n')
    assert main([*shared, "--grammar", str(grammar)]) == 0
    assert json.loads(capsys.readouterr().out)["text"].startswith("letters ")
    schema.write_text('{"not": {}}')
    assert main([*shared, "--json-schema", str(schema)]) == 2
    assert "$.not: keyword is not supported" in capsys.readouterr().err


# ---------------------------------------------------------------- thoughts


def chat(demo: flyball.Model, end: str) -> flyball.Chat:
    """A template of a model that thinks; `end`: of its prompts."""
    template = "{% for m in messages %}{{ m.content }}\n{% endfor %}{% if false %}<think></think>{% endif %}" + end
    return demo.chat(template=template)


def test_a_chat_leaves_the_thoughts_free(demo: flyball.Model) -> None:
    opened = chat(demo, "<think>\n")
    result = opened.send("Tell me", 12, constraint=Constraint.choice(["yes", "no"]), seed=1)
    assert result.receipt["constraint"]["text"].startswith(
        '%thinking {"open":"<think>","close":"</think>","opened":true}'
    )
    assert result.stop_reason == "max_tokens"
    assert flyball.verify(result.receipt, model=demo)
    close = {"constraint": Constraint.choice(["yes", "no"]).after_thinking("<think>", ".", opened=True)}
    thought = chat(demo, "<think>\n").send("Tell me", 200, seed=1, **close)  # type: ignore[arg-type]
    head, dot, rest = thought.text.partition(".")
    assert head
    assert dot
    assert rest.strip() in ("yes", "no")
    assert thought.stop_reason == "eos"
    free = chat(demo, "")
    answer = free.send("Tell me", 60, json_schema=PERSON, seed=1)
    assert '"opened":false' in answer.receipt["constraint"]["text"]
    assert answer.text.startswith(("{", "<think>"))


def test_a_chat_without_thoughts_and_one_with_headers(demo: flyball.Model) -> None:
    plain = demo.chat(template="{% for m in messages %}{{ m.content }}\n{% endfor %}")
    answer = plain.send("Tell me", 60, constraint=LETTERS, seed=1)
    assert answer.receipt["constraint"]["text"] == LETTERS.text
    assert plain.history[-1].content == answer.text.strip()
    harmony = demo.chat(template="{% for m in messages %}{{ m.content }}{% endfor %}{# <|channel|> <|message|> #}")
    with pytest.raises(flyball.Unsupported, match="harmony"):
        harmony.send("Tell me", 4, constraint=LETTERS)
    assert not harmony.history
