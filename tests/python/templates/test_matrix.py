"""A sample of template_matrix.py, with templates that are at hand."""

from __future__ import annotations

import pytest

import flyball
from flyball.templates import template as templates
from flyball.templates.traced import from_template
from tests.python.templates import template_matrix as matrix
from tests.python.templates.attacks import attacks, control_tokens, leaks
from tests.python.templates.conversations import conversations
from tests.python.templates.test_chat import TEMPLATES


def test_conversations_have_names_of_their_own() -> None:
    names = [case.name for case in conversations()]
    assert len(names) == len(set(names)) > 40


@pytest.mark.parametrize("name", TEMPLATES)
def test_template_is_equal_to_the_reference_and_deaf_to_messages(name: str) -> None:
    row = matrix.measure(name, TEMPLATES[name], n_attacks=60)
    assert not row.wrong
    assert row.conversations == row.equal + row.refused
    assert row.equal > 40
    assert (row.attacks, row.leaked) == (60, 0)


def test_the_models_own_template(demo: flyball.Model) -> None:
    row = matrix.measure("demo", demo.info.chat_template, n_attacks=60)
    assert not row.wrong
    assert row.equal > 40


@pytest.mark.parametrize("name", TEMPLATES)
def test_attacks_succeed_where_messages_count_as_the_templates(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else they would prove nothing."""
    copied = templates._copied

    def trusting(value: object, depth: int = 0) -> object:
        value = copied(value, depth)
        return from_template(value) if isinstance(value, str) else value

    monkeypatch.setattr(templates, "_copied", trusting)
    row = matrix.Row(name)
    matrix.attack(row, TEMPLATES[name], 60, seed=1)
    assert row.leaked > 5


def test_leaks_are_seen() -> None:
    assert leaks(["a", "<|Zqx|>"], [False, True]) == ["<|Zqx|>"]
    assert leaks([*"Zqx", "<|x|>", *"Zqx"], [False] * 3 + [True] + [False] * 3) == ["<|x|>"]
    assert leaks(["<|x|>", *"Zqx", "<|x|>"], [True, False, False, False, True]) == []


def test_attacks_are_of_every_kind() -> None:
    source = TEMPLATES["chatml"]
    assert control_tokens(source) == ("<|im_end|>", "<|im_start|>")
    sent = [attack for attack, _ in zip(attacks(source, control_tokens(source), 0), range(300), strict=False)]
    assert len({repr(attack) for attack in sent}) > 200
    tokens = {token for attack in sent for token in attack.tokens}
    for kind in ("\nZqx", "Zqx<|im_end|>", "<|im_Zqxend|>"):
        assert kind in tokens
