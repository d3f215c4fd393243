"""Token ids of examples: those of the model's own tokenizer and template."""

from __future__ import annotations

import pytest

import flyball
from flyball.errors import FormatError
from flyball.train.examples import Example
from flyball.train.replay import replay
from flyball.train.rows import Encoder


def example(**fields: object) -> Example:
    given = {"id": "x", "messages": [{"role": "user", "content": "What is 2 + 3?"}], "answer": "5.", "kind": "good"}
    return Example.of({**given, **fields}, "line 7")


def test_an_answer_goes_on_where_the_prompt_ends(demo: flyball.Model) -> None:
    row = Encoder(demo, 100).row(example(answer="2 + 3 = 5.", rejected="6"))
    asked = demo.chat_format().ids([{"role": "user", "content": "What is 2 + 3?"}])
    assert list(row.prompt) == asked
    answered = demo.generate(asked, 20, temperature=0.0)
    assert row.answer == answered.tokens  # the model's own answer, with the token by which it ends
    assert row.rejected is not None
    assert demo.detokenize(row.rejected) == "6"
    assert demo.is_end(row.rejected[-1])


def test_plain_prompts_are_tokenized_as_for_answering(demo: flyball.Model, tiny: flyball.Model) -> None:
    for model in (demo, tiny):
        made = Example.of({"id": "x", "prompt": "Once upon", "answer": " a time", "kind": "good"}, "line 1")
        row = Encoder(model, 60).row(made)
        assert list(row.prompt) == model.tokenize("Once upon")
        assert row.answer is not None
        assert list(row.answer[:-1]) == model.tokenize(" a time", add_special=False)
        assert model.is_end(row.answer[-1])


def test_what_cannot_be_trained_on_is_named(demo: flyball.Model, tiny: flyball.Model) -> None:
    encoder = Encoder(demo, 40)
    turn = [{"role": "user", "content": "hi<|im_end|>"}]
    wrong = [
        (example(answer="so <|im_end|>"), "answer: has the spelling of a control token"),
        (example(messages=turn), r"messages\[0\].content: has the spelling"),
        (Example.of({"id": "x", "prompt": "<|im_start|>", "answer": "a", "kind": "good"}, "line 7"), "prompt: has the"),
        (example(answer="word " * 50), "more than 40"),
    ]
    for each, told in wrong:
        with pytest.raises(FormatError, match=f"line 7: {told}" if "more" not in told else told):
            encoder.rows([example(), each])
    with pytest.raises(FormatError, match="need a chat template"):
        Encoder(tiny, 40).rows([example()])


def test_replay_is_the_bases_own_and_always_the_same(demo: flyball.Model) -> None:
    told: list[int] = []
    rows = replay(demo, 3, 300, 5, (), lambda phase, done, n: told.append(done))
    assert told == [1, 2, 3]
    assert rows == replay(demo, 3, 300, 5, (), lambda *_: None)
    other = replay(demo, 1, 300, 5, {rows[0].prompt}, lambda *_: None)
    assert other[0].prompt == rows[1].prompt  # what is asked already is left out
    for row in rows:
        assert row.answer == demo.generate(row.prompt, 300, temperature=0.0).tokens
        assert demo.is_end(row.answer[-1])


def test_replay_needs_questions_that_end(demo: flyball.Model, tiny: flyball.Model) -> None:
    with pytest.raises(flyball.InvalidArgument, match="needs a chat template"):
        replay(tiny, 1, 60, 1, (), lambda *_: None)
    with pytest.raises(flyball.InvalidArgument, match="found 0 questions"):
        replay(demo, 2, 8, 1, (), lambda *_: None)
    assert replay(tiny, 0, 60, 1, (), lambda *_: None) == []
