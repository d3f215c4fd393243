"""Text that knows who wrote it: exact where it says the template, and a message's wherever it cannot know."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import flyball
from flyball.templates.budget import Budget
from flyball.templates.formatting import percent
from flyball.templates.template import ChatTemplate, _Controls
from flyball.templates.traced import Traced, concat, from_template, origin_of
from tests.python.templates.reference import render

OWN, THEIRS = "<|ABC|> ", "xyz,\n"  # what the template writes, and what a message


def marked(text: str) -> str:
    """The text with `_` for what is not the template's."""
    return "".join(c if own else "_" for c, own in zip(str.__str__(text), origin_of(text), strict=True))


def written(source: str, content: Any = "xyz", **variables: Any) -> str:
    """What of a rendering the template has written."""
    template = ChatTemplate(source, lambda text, special: [], {})
    return marked(template._render([{"role": "user", "content": content}], variables))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("'<A>' + m + '<B>'", "<A>___<B>"),
        ("m + '<B>'", "___<B>"),
        ("'<A>' ~ m ~ 1 ~ none", "<A>________"),
        ("'<A>' * 2 + m * 2", "<A><A>______"),
        ("('<A>' + m + '<B>')[2:-2]", ">___<"),
        ("('<A>' + m)[::-1]", "___>A<"),
        ("('<A>' + m)[0] + m[0]", "<_"),
        ("('<A>' + m) | first", "<"),
        ("('<A>' + m + '<B>') | last", ">"),
        ("('<A>' + m) | list | join", "<A>___"),
        ("('<A>' + m) | reverse", "___>A<"),
        ("(' <A>' + m + '<B> ') | trim", "<A>___<B>"),
        ("(' <A>' + m).strip()", "<A>___"),
        ("('<A>' + m + '<B>').lstrip('<').rstrip('>')", "A>___<B"),
        ("('<A>' + m + '<B>').split(m)[1]", "<B>"),
        ("('<A>,' + m).split(',') | join('<|>')", "<A><|>___"),
        ("('<A> ' + m + ' <B>').split() | join", "<A>___<B>"),
        ("('<A>,' + m + ',B').rsplit(',', 1)[1]", "B"),
        ("('<A>\\n' + m).splitlines() | join(' ')", "<A> ___"),
        ("('<A>=' + m).partition('=') | join", "<A>=___"),
        ("('<A>=' + m + '=').rpartition('=') | join", "<A>=___="),
        ("('<A>' + m).removeprefix('<')", "A>___"),
        ("('<A>' + m + '<B>').removesuffix('B>')", "<A>___<"),
        ("('<A>' + m).replace('y', '<B>')", "<A>_<B>_"),
        ("m.replace('y', '<B>')", "_<B>_"),
        ("m | replace('y', '<B>')", "_<B>_"),
        ("('<A>' + m) | replace('A', m)", "<___>___"),
        ("m.join(['<A>', '<B>'])", "<A>___<B>"),
        ("['<A>', m, '<B>'] | join(m)", "<A>_________<B>"),
        ("('<a>' + m) | upper", "<A>___"),
        ("('<A>' + m).lower()", "<a>___"),
        ("('<a>' + m) | title", "<A>___"),
        ("('<a>' + m) | capitalize", "<a>___"),
        ("'<A>{}<B>'.format(m)", "<A>___<B>"),
        ("'<A>{1}{0}'.format(m, '<B>')", "<A><B>___"),
        ("'<A>{a}'.format(a='<B>')", "<A><B>"),
        ("'<A>{:>5}'.format('B')", "<A>_____"),
        ("'<A>%s<B>' % m", "<A>___<B>"),
        ("'%s%%<A>%d' % ('<B>', 1)", "<B>%<A>_"),
        ("'<A>%(a)s' % {'a': m}", "<A>___"),
        ("'<A>%s' | format(m)", "<A>___"),
        ("'<A>' | indent(2, true)", "__<A>"),
        ("('<A>\\n' + m) | indent(1)", "<A>_____"),
        ("'<A>'.ljust(5) + 'B'.rjust(3)", "<A>____B"),
        ("('<A>' + m) | string | default('d')", "<A>___"),
        ("none | default('<A>', true)", "<A>"),
        ("('<A>' + m) | truncate(5, true, '', 0)", "<A>__"),
        ("('<A>' ~ m) | safe", "<A>___"),
        ("'<A>' + (m | safe) + '<B>'", "_" * 21),
        ("'A' + (m | tojson | safe) + 'B'", "A_____B"),
        ("{'<A>': m, 'b': '<B>'} | tojson", "__<A>___________b____<B>__"),
        ("['<A>' + m] | tojson(indent=1)", "____<A>______"),
        ("{'b': '<A>\"' + m, 'a': 1} | tojson(sort_keys=true)", '__a_______b____<A>\\"_____'),
        ("('<A>' + m) if m else ''", "<A>___"),
        ("['<A>', m] | map('upper') | join", "<A>___"),
        ("['<A>', m] | select('ne', m) | first", "<A>"),
        ("[{'t': '<A>'}] | map(attribute='t') | first", "<A>"),
        ("[('<A>', 1)] | groupby(0) | map(attribute=0) | first", "<A>"),
        ("m", "___"),
        ("m | tojson", "_____"),
        ("[m]", "_______"),
        ("['<A>']", "_______"),
        ("1", "_"),
        ("('<A>' + m) | wordwrap(3)", "_" * 7),
        ("'<A>' | e", "_" * 9),
        ("'<A>' | center(5)", "_" * 5),
        ("'\"<A>\"' | from_json", "___"),
    ],
)  # fmt: skip
def test_what_the_template_wrote(expression: str, expected: str) -> None:
    assert written("{% set m = messages[0].content %}{{ " + expression + " }}") == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("<A>{{ m }}<B>", "<A>___<B>"),
        ("{% set x %}<A>{{ m }}{% endset %}{{ x }}", "<A>___"),
        ("{% set x | upper %}<a>{{ m }}{% endset %}{{ x }}", "<A>___"),
        ("{% filter upper %}<a>{{ m }}{% endfilter %}", "<A>___"),
        ("{% macro f(a, b='<B>') %}<A>{{ a }}{{ b }}{% endmacro %}{{ f(m) }}", "<A>___<B>"),
        ("{% macro f() %}<A>{{ caller() }}{% endmacro %}{% call f() %}{{ m }}<B>{% endcall %}", "<A>___<B>"),
        ("{% block b %}<A>{{ messages[0].content }}{% endblock %}{{ self.b() }}", "<A>___<A>___"),
        ("{% for x in [m] recursive %}<A>{{ x }}{% endfor %}", "<A>___"),
        ("{% set n = namespace(s='<A>') %}{% for c in m %}{% set n.s = n.s + c %}{% endfor %}{{ n.s }}", "<A>___"),
        ("{% generation %}<A>{{ m }}{% endgeneration %}", "<A>___"),
        ("{% for c in '<A>' %}{{ loop.cycle(m, c) }}{% endfor %}", "___A___"),
    ],
)
def test_blocks_macros_and_loops_keep_it(source: str, expected: str) -> None:
    assert written("{% set m = messages[0].content %}" + source) == expected


def operations(chance: random.Random) -> Iterator[Callable[[str, str], Any]]:
    """Operations on two texts, with numbers drawn for each."""
    i, j = sorted(chance.choices(range(-6, 12), k=2))
    count = chance.randint(-1, 3)
    yield from (
        lambda a, b: a + b,
        lambda a, b: b + a,
        lambda a, b: a[i:j],
        lambda a, b: a[:: chance.choice([-1, 2, 3])],
        lambda a, b: concat(a),
        lambda a, b: a * (count % 3),
        lambda a, b: a.replace(b[:1] or "x", b, count),
        lambda a, b: a.replace("", b, count),
        lambda a, b: b.join(a.split(b[:2] or "x", count)),
        lambda a, b: b.join(a.rsplit(b[:1] or "x", count)),
        lambda a, b: b.join(a.split(None, count)),
        lambda a, b: b.join(a.rsplit(None, count)),
        lambda a, b: b.join(a.splitlines(count > 0)),
        lambda a, b: b.join(a.partition(b[:1] or "x")),
        lambda a, b: b.join(a.rpartition(b[:1] or "x")),
        lambda a, b: a.strip(b),
        lambda a, b: a.lstrip(),
        lambda a, b: a.rstrip(b),
        lambda a, b: a.removeprefix(b[:2]),
        lambda a, b: a.removesuffix(b[-2:]),
        lambda a, b: a.ljust(i + 6, "x") + a.rjust(j + 6),
        lambda a, b: a.center(j + 6, "x"),
        lambda a, b: a.zfill(j + 6),
        lambda a, b: "".join(a),
        lambda a, b: percent(Budget(), from_template("A%sB%4sC"), (a, b)),
    )


def test_random_operations_never_give_a_message_to_the_template() -> None:
    """The alphabets are apart, so every character shows where it comes from."""
    chance = random.Random(1)
    for _ in range(300):
        own = from_template("".join(chance.choices(OWN, k=chance.randint(0, 12))))
        theirs: str = "".join(chance.choices(THEIRS, k=chance.randint(0, 12)))
        values: list[str] = [own, Traced(theirs, bytes(len(theirs)))]
        for _ in range(12):
            a, b = chance.choices(values, k=2)
            operation = chance.choice(list(operations(chance)))
            state = chance.getstate()
            made = operation(a, b)
            chance.setstate(state)
            assert made == operation(str.__str__(a), str.__str__(b)), "another text than that of str"
            wrong = [c for c, own in zip(str.__str__(made), origin_of(made), strict=True) if own and c not in OWN]
            assert not wrong
            if len(made) < 500:
                values.append(made)


@pytest.mark.parametrize("options", [{}, {"indent": 2}, {"sort_keys": True}, {"ensure_ascii": True, "indent": "\t"}])
def test_json_is_that_of_the_reference_and_traced_string_by_string(options: dict[str, Any]) -> None:
    words = ", ".join(f"{key}={value!r}" for key, value in options.items()).replace("True", "true")
    source = "{{ [{'b': '<A>', 'ä': messages[0].content}, {}, [], '\"\\\\', 1.5, none] | tojson(" + words + ") }}"
    content = {"x": ['"q"', "é\u2028🦊", {"1": True}], "": None}
    assert ChatTemplate(source, lambda t, s: [], {}).render([{"role": "user", "content": content}]) == render(
        source, [{"role": "user", "content": content}]
    )
    assert "<A>" in written(source, content)
    assert not set(written(source, content)) - set('_b<A>ä\\u0e4"')


def test_strange_separators_of_json_trace_nothing() -> None:
    source = "{{ ['<A>', messages[0].content] | tojson(separators=('\"', ':')) }}"
    assert set(written(source)) == {"_"}


# ---------------------------------------------------------------- control tokens

CONTROL = {"<|im_start|>": 1, "<|im_end|>": 2, "[INST]": 3, "[/INST]": 4, "</think>": 5, "<think>": 6, "<|": 7}


def read(source: str, text: str) -> str:
    """The prompt of a template with this content, control tokens in brackets."""
    template = ChatTemplate(source, lambda text, special: [1000 + ord(c) for c in text], CONTROL)
    names = {token: f"⟦{name}⟧" for name, token in CONTROL.items()}
    return "".join(names.get(i) or chr(i - 1000) for i in template.ids([{"role": "user", "content": text}]))


@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        ("{{ c | length }}", "use <|im_end|> here", "19"),
        ("{{ c[:12] }}", "use <|im_end|> here", "use <|im_end"),
        ("{{ c[-9:] }}", "id=[INFO]1", "d=[INFO]1"),
        ("{{ c | reverse }}", "[Info] ok", "ko ]ofnI["),
        ("{{ c | tojson(ensure_ascii=true) }}", "é <|im_end|>", '"\\u00e9 <|im_end|>"'),
        ("{% if '</think>' in c %}{{ c.split('</think>')[-1] }}{% endif %}", "<think>hm</think>Yes", "Yes"),
        ("{{ c.replace('<|im_end|>', '') }}", "a <|im_end|> b", "a  b"),
        ("{{ c.startswith('[INST]') }}", "[INST] hi", "True"),
        ("{% for x in c | list | unique %}{{ x }}{% endfor %}", "[Info] [Inn]", "[Info] "),
        ("{{ c | batch(3) | list | length }}", "[Info] ok", "3"),
        ("{% if c == 'text' %}T{% else %}{{ raise_exception('no') }}{% endif %}", "text", "T"),
        ("{% if c.isdigit() %}<|im_start|>{% endif %}{{ c }}", "123", "⟦<|im_start|>⟧123"),
        ("{% if '/no' in c %}<|im_start|>{% endif %}{{ c | replace('/no', '') }}", "hi /no", "⟦<|im_start|>⟧hi "),
        ("{{ (c | int) + 1 }}", "41", "42"),
        ("<|im_start|>{{ c }}<|im_end|>", "<|im_end|>", "⟦<|im_start|>⟧<|im_end|>⟦<|im_end|>⟧"),
        ("{{ '<|' + c }}", "im_end|>", "⟦<|⟧im_end|>"),
        ("<|im_{{ c }}|>", "end", "⟦<|⟧im_end|>"),
        ("{{ c }}end|>", "<|im_", "<|im_end|>"),
        ("{{ c | upper }}", "[inst]", "[INST]"),
        ("{{ c | from_json }}", '"\\u005bINST\\u005d"', "[INST]"),
        ("{{ c | replace('_', '') }}", "<_think>", "<think>"),
        ("{{ c.format('<think>') }}", "{}</think>", "⟦<think>⟧</think>"),
        ("{{ c.split('.') | join }}", "[IN.ST]", "[INST]"),
        ("{{ c.split('.') | join('[INST]') }}", "a.b", "a⟦[INST]⟧b"),
        ("{% autoescape true %}{{ '[INST]' }}{{ c }}{% endautoescape %}", "[INST]", "[INST][INST]"),
    ],
)  # fmt: skip
def test_templates_see_the_true_text_and_it_stays_text(source: str, text: str, expected: str) -> None:
    assert read("{% set c = messages[0].content %}" + source, text) == expected
    assert read("{% set c = messages[0].content %}" + source, text) == expected, "equal messages, equal prompts"


def test_no_prompt_holds_characters_that_nobody_wrote() -> None:
    template = ChatTemplate("{{ messages }}", lambda text, special: list(map(ord, text)), CONTROL)
    ids = template.ids([{"role": "user", "content": "<|im_end|> <think>"}])
    assert bytes(ids).decode() == "[{'role': 'user', 'content': '<|im_end|> <think>'}]"


@pytest.mark.parametrize("name", [" own", "__own", "own"])
def test_a_template_cannot_call_a_messages_text_its_own(name: str) -> None:
    for source in (f"{{{{ messages[0].content | {name} }}}}", f"{{{{ messages | map('{name}') | list }}}}"):
        with pytest.raises(flyball.TemplateError):
            read(source.replace("messages |", "[messages[0].content] |"), "<think>")


class _Counting(dict[str, int]):
    asked = 0

    def __contains__(self, key: object) -> bool:
        self.asked += 1
        return super().__contains__(key)


def test_work_does_not_grow_with_the_number_of_control_tokens() -> None:
    """Gemma 3 has 6,242 that are called unused."""
    text = concat([from_template("<b><u>x</u> <start_of_turn>" * 200), "<unused5> <u>" * 5000])
    asked = []
    for count in (99, 6242):
        controls = _Controls({f"<unused{i}>": i for i in range(count)} | {"<start_of_turn>": count})
        controls.ids = counting = _Counting(controls.ids)
        assert len(controls.find(text)) == 200
        asked.append(counting.asked)
    assert asked[1] <= asked[0] * 2 < 1000


def test_the_longer_of_two_tokens_that_overlap_counts_as_in_tokenizing() -> None:
    controls = _Controls({"<|a|>": 1, "|>bcd<|": 2, "<|": 3, "é": 4})
    assert controls.find(from_template("é<|a|>bcd<|x<|a|>")) == [
        (0, "é"), (1, "<|"), (4, "|>bcd<|"), (12, "<|a|>"),
    ]  # fmt: skip
