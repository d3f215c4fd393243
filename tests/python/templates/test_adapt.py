"""Messages in the form that a template wants, which is found out by asking it."""

from __future__ import annotations

import json
from typing import Any

import pytest

import flyball
from flyball.templates.adapt import MessageForm
from tests.python.templates.conversations import assistant, call, result, system, tool, user
from tests.python.templates.test_chat import make, read

TOOLS = [tool("get_weather", "Weather", {"city": {"type": "string"}})]
CALLS = [call("get_weather", '{"city": "Ulm"}', "call_abc")]
TURN = "{% for m in messages %}[{{ m.role }}]"


def rendered(source: str, messages: list[dict[str, Any]], **variables: Any) -> str:
    return read(MessageForm(make(source)).ids(messages, **variables))


@pytest.mark.parametrize("arguments", ['{"city": "Ulm"}', {"city": "Ulm"}], ids=["text", "mapping"])
@pytest.mark.parametrize(
    "written",
    [
        "{{ c.function.name }}{% for k, v in c.function.arguments.items() %}{{ k }}={{ v }}{% endfor %}",
        "{{ c.function.name }}{{ c.function.arguments | tojson }}",
        "{{ c.function.name + c.function.arguments }}",
        "{{ c.function.name }}{{ c.function.arguments }}",
        "{{ c.function.name }}{{ c.function.arguments | from_json | tojson }}",
    ],
)
def test_arguments_are_given_as_the_template_wants_them(written: str, arguments: Any) -> None:
    source = TURN + "{{ m.content }}{% for c in m.tool_calls or [] %}" + written + "{% endfor %}{% endfor %}"
    text = rendered(source, [user("x"), assistant("", tool_calls=[call("get_weather", arguments)])], tools=TOOLS)
    assert text.startswith("[user]x[assistant]get_weather")
    assert "Ulm" in text
    assert "'city'" not in text
    assert '\\"' not in text


def test_content_of_a_message_that_calls() -> None:
    by_none = (
        TURN
        + "{% if m.content is none %}{{ m.tool_calls[0].function }}{% else %}{{ m.content }}{% endif %}{% endfor %}"
    )
    for content in (None, "", "Look."):
        text = rendered(by_none, [user("x"), assistant(content, tool_calls=CALLS)])
        assert "get_weather" in text
        assert ("Look." in text) == (content == "Look.")
    by_text = (
        TURN + "{{ m.content + '' }}{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}{% endfor %}"
    )
    assert "get_weather" in rendered(by_text, [user("x"), assistant(None, tool_calls=CALLS)])
    assert rendered(by_text, [user("x"), {"role": "assistant"}]) == "[user]x[assistant]"


def test_parts_that_are_text_become_one_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    source = TURN + "{{ m.content + '' }}{% endfor %}"
    assert rendered(source, [system(parts), user(parts)]) == "[system]ab[user]ab"
    images = TURN + "{% for p in m.content %}{{ p.type }}{% endfor %}{% endfor %}"
    assert rendered(images, [user([{"type": "image"}, parts[0]])]) == "[user]imagetext"


@pytest.mark.parametrize(
    ("reads", "written"),
    [
        ("{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}{{ m.content }}", "(Hm.)Yes."),
        ("{% if m.thinking %}({{ m.thinking }}){% endif %}{{ m.content }}", "(Hm.)Yes."),
        ("{% if m.reasoning %}({{ m.reasoning }}){% endif %}{{ m.content }}", "(Hm.)Yes."),
        (
            "{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}{{ p[p.type] }}|{% endfor %}"
            "{% endif %}",
            "Hm.|Yes.|",
        ),
        ("{{ m.content.split('</think>')[-1] }}", "\n\nYes."),
        ("{{ m.content }}", "Yes."),
    ],
)
def test_thoughts_go_where_the_template_looks(reads: str, written: str) -> None:
    source = TURN + reads + "{% endfor %}"
    assert rendered(source, [user("x"), assistant("Yes.", reasoning_content="Hm.")]) == f"[user]x[assistant]{written}"


def test_templates_without_a_place_for_tools() -> None:
    source = (
        "{% for m in messages %}{% if m.role not in ('user', 'assistant') %}{{ raise_exception('no ' + m.role) }}"
        "{% endif %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    )
    messages = [user("x"), assistant("Look.", tool_calls=CALLS), result("Sunny", "call_abc")]
    text = rendered(source, messages, tools=TOOLS)
    assert text.startswith("[user]x[assistant]Look.\n{")
    assert json.loads(text[text.index("{") : text.index("}}") + 2]) == {
        "name": "get_weather",
        "arguments": {"city": "Ulm"},
    }
    assert text.endswith("[user]Sunny")


@pytest.mark.parametrize("more", ["", "{% if m.tool_calls | length > 1 %}{{ raise_exception('one') }}{% endif %}"])
def test_calls_one_by_one_where_a_template_writes_one(more: str) -> None:
    source = (
        TURN
        + more
        + "{% if m.tool_calls %}{{ m.tool_calls[0].function | tojson }}{% endif %}{{ m.content }}{% endfor %}"
    )
    calls = [call("f", {"x": 1}, "a"), call("g", {}, "b")]
    messages = [user("x"), assistant("Look.", tool_calls=calls), result("B", "b"), result("A", "a"), result("C", "c")]
    one, two = '{"name": "f", "arguments": {"x": 1}}', '{"name": "g", "arguments": {}}'
    expected = f"[user]x[assistant]{one}Look.[tool]A[assistant]{two}[tool]B[tool]C"
    assert rendered(source, messages) == expected
    every = TURN + "{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}{{ m.content }}{% endfor %}"
    assert rendered(every, messages) == f"[user]x[assistant]{one}{two}Look.[tool]B[tool]A[tool]C"


def test_ids_and_names_of_results() -> None:
    source = (
        TURN + "{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% if c.id | length != 9 %}"
        "{{ raise_exception('nine') }}{% endif %}{{ c.id }}{% endfor %}"
        "{% if m.role == 'tool' %}{{ m.tool_call_id }}{{ m.name }}{% endif %}{{ m.content }}{% endfor %}"
    )
    messages = [
        user("x"),
        assistant("", tool_calls=CALLS),
        {"role": "tool", "content": "y", "tool_call_id": "call_abc"},
    ]
    text = rendered(source, messages)
    (id,) = {text[text.index("}}") + 2 :][:9], text[text.index("[tool]") + 6 :][:9]}
    assert len(id) == 9
    assert text.endswith(f"[tool]{id}get_weathery")


def test_variables_have_the_names_that_a_template_reads() -> None:
    source = (
        "{{ thinking }} {{ thinking_mode }} {{ clear_thinking }} {{ keep_past_thinking }} {{ functions }}{{ datetime }}"
    )
    text = rendered(
        source, [], enable_thinking=False, preserve_thinking=True, tools=TOOLS, strftime_now="2026-01-02T03:04:05"
    )
    assert text.startswith("False disabled False True [")
    assert text.endswith("2026-01-02T03:04:05")
    assert rendered("{{ enable_thinking }}{{ thinking }}", [], enable_thinking=False) == "False"
    assert rendered("{{ thinking }}", [], enable_thinking=False, thinking=True) == "True"


def test_loops_over_no_tools() -> None:
    source = "{% for t in tools %}{{ t }}{% endfor %}{{ messages[0].content }}"
    adapter = MessageForm(make(source))
    assert read(adapter.ids([user("x")])) == read(adapter.ids([user("x")])) == "x"
    with pytest.raises(flyball.TemplateError):
        MessageForm(make("{{ messages[0].content.x.y }}")).ids([user("x")])


def test_developers_are_systems_where_they_are_not_known() -> None:
    developer = {"role": "developer", "content": "x"}
    assert rendered(TURN + "{% endfor %}", [developer]) == "[system]"
    assert rendered(TURN + "{% endfor %}{# developer #}", [developer]) == "[developer]"


@pytest.mark.parametrize("arguments", ["{", "[1]", '"x"'])
def test_arguments_that_are_no_object_are_refused(arguments: str) -> None:
    source = TURN + "{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}{% endfor %}"
    with pytest.raises(flyball.InvalidArgument, match="arguments of a call"):
        rendered(source, [user("x"), assistant("", tool_calls=[call("f", arguments)])])


def test_calls_of_another_form_reach_the_template() -> None:
    source = TURN + "{% for c in m.tool_calls or [] %}{{ c.name }}{% endfor %}{% endfor %}"
    assert rendered(source, [user("x"), assistant(None, tool_calls=[{"name": "f"}])]) == "[user][assistant]f"


def test_a_hostile_template_fails_no_question() -> None:
    for source in ("{{ 1 / 0 }}", "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}"):
        with pytest.raises(flyball.TemplateError):
            rendered(source, [user("x"), assistant("", tool_calls=CALLS)])
