"""What templates in the wild use: each construct gives what Jinja gives as transformers sets it up."""

from __future__ import annotations

import pytest

import flyball
from flyball.templates.template import ChatTemplate
from tests.python.templates.conversations import Messages, call
from tests.python.templates.reference import render

MESSAGES: Messages = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello\nthere, you <b>two</b>", "name": "ann"},
    {"role": "assistant", "content": None, "tool_calls": [call("f", {"b": 1, "a": [True, None, 1.5, "é"]})]},
    {"role": "tool", "content": "12"},
]
FILTERS = r"""
m | abs is defined
text | attr('upper') is callable
messages | batch(3) | map('length') | list
messages | batch(3, 'x') | map('join', ',', attribute='role') | first
text | capitalize
'x' | center(9)
text | count
none | d('e')
args | dictsort
'<b>' | e
('<b>' | e) ~ '<i>'
('<b>' | e) + '<i>'
'<i>' + ('<b>' | safe) + text
'<b>' | forceescape
123456 | filesizeformat
text | first
'1.5' | float
'%s: %d %.2f' | format('a', 3, 1.5)
'%(a)s' | format(a=text)
messages | groupby('role') | map(attribute=0) | list
messages | groupby('role') | length
text | indent
text | indent(2, true)
text | indent('> ', first=true, blank=true)
'a\n\nb\n' | indent(1)
'x' | int(7)
'0x1f' | int(0, 16)
args | items | list
none_such | items | list
messages | join(', ', attribute='role')
[1, none, 'x'] | join
args.a | join('|')
(messages | last).content
messages | map('length') | join(',')
messages | map(attribute='name', default='-') | list
[3, 1] | max
['b', 'A'] | min
args | pprint
messages | rejectattr('role', 'in', ['user', 'tool']) | list | length
text | replace('e', 'E', 2)
text | replace('', '-')
12 | replace(1, 3)
'ab' | reverse
1.567 | round(1)
1.567 | round(1, 'floor')
text | safe
messages | select('mapping') | list | length
messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | first
messages | selectattr('role', 'search', 'us') | list
[1, 2, 3] | slice(2) | list
['b', 'A'] | sort(case_sensitive=true, reverse=true)
messages | sort(attribute='role') | map(attribute='role') | list
messages | string
'a <b>c</b>  d' | striptags
[[1, 2], [3]] | sum(start=[])
[{'a': 2}, {'a': 1}] | sum(attribute='a')
'hello wOrld x-y' | title
none | trim
text | trim('you')
text | truncate(12)
text | truncate(12, true, '..', 0)
[1, 2, 2, 'A', 'a'] | unique | list
'ä b&c' | urlencode
'see http://a.example/b now' | urlize
text | wordcount
text | wordwrap(6)
text | wordwrap(4, true, '/')
args | xmlattr
args | tojson
args | tojson(indent=2)
args | tojson(4)
args | tojson(true, 2)
args | tojson(indent='  ')
args | tojson(indent=none)
args | tojson(indent=-1)
args | tojson(sort_keys=true, separators=(',', ':'))
args | tojson(ensure_ascii=true)
{1: 'a', none: 'b', true: 'c'} | tojson
none_such | tojson
'<b>&\'' | tojson
""".strip().splitlines()
METHODS = r"""
'{} and {}'.format(1, text)
'{0}{0}{a}'.format(1, a=2)
'{:>5}|{:<4}|{:^5}|{:03d}|{:.2f}|{!r}'.format('x', 'y', 'z', 7, 1.234, 'q')
'{:{}}'.format('x', 5)
'{0[a]}{0[b]}'.format(args)
'{m.role}{{}}'.format(m=messages[0])
'{a}'.format_map({'a': text})
'{} {0}'.format(1)
'{}'.format()
'{0.__class__}'.format(text)
'%s: %d' % ('a', 3)
'%05.2f|%-5s|%+d|%x|%c|%%' % (1.234, 'x', 3, 255, 'c')
'%*d' % (5, 3)
'%s %s' % 'x'
'%(a)s %(b)5s' % {'a': 1, 'b': text}
'x'.ljust(5) ~ '|' ~ 'x'.rjust(5, '.')
'x'.center(6) ~ 'x'.zfill(3) ~ 'a\tb'.expandtabs(4)
'abc'.translate({97: 'x', 98: none})
'a,b'.split(',')
'  a  b '.split()
'a b c'.rsplit(' ', 1)
'a:b'.partition(':')
'xa'.removeprefix('x') ~ 'ax'.removesuffix('x')
'abc'.index('b') ~ 'abc'.find('z') ~ 'abc'.count('a') ~ 'Abc'.swapcase() ~ 'ab'.title()
', '.join(['a', 'b'])
', '.join([1])
', '.join(messages | map(attribute='role'))
'aXbX'.replace('X', '-', 1)
'a\nb\r\nc'.splitlines()
'x'.encode('utf-8')
text.startswith(('Hel', 'x')) and text.endswith('</b>')
text.upper().isupper()
messages[0].get('content', 'x') ~ messages[0].get('zzz', 'x')
messages[0].keys() | list
messages[0].values() | list
args.items()
messages[0].pop('role')
messages.append(1)
messages[0].update({'role': 'x'})
messages[2].tool_calls.append(1)
messages[::-1] | map(attribute='role') | list
messages[1:-1] | length
messages[9].content
messages[2].content + 'x'
(messages[2].content or '') + 'x'
messages[0]['content'] ~ 1 ~ none ~ [1]
'abc'[::-1] ~ 'abc'[-2:] ~ 'abc'[5:] ~ 'abc'[1]
'a' * 3 ~ [0] * 2 ~ ([1] + [2])
'a' in 'abc' and 'role' in messages[0]
dict(a=1) ~ dict([('a', 1)])
namespace(a=1, b={}).b
range(1, 7, 2) | list
none_such.a
none_such.a.b
strftime_now('%Y-%m-%d')
bos_token ~ eos_token ~ pad_token ~ (unk_token is defined) ~ add_generation_prompt ~ tools ~ documents
raise_exception('no')
messages
1e3 ~ 1_000 ~ 7 // 2 ~ 7 % 3 ~ 2 ** 3 ~ -3
""".strip().splitlines()
STATEMENTS = r"""
{% for m in messages %}{{ loop.previtem.role if loop.previtem is defined }}>{{ loop.changed(m.role) }};{% endfor %}
{% for m in messages if m.role != 'tool' %}{{ loop.index }}{{ loop.last }}{% else %}none{% endfor %}
{% for x in none_such %}x{% else %}none{% endfor %}
{% for x in [1, [2, [3]]] recursive %}{% if x is iterable %}{{ loop(x) }}{% else %}{{ x }}{% endif %}{% endfor %}
{% for k, v in args.items() %}{{ k }}={{ v }};{% endfor %}
{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.role }}{% break %}{% endfor %}
{% macro f(a, b='x') %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, 3, c=4) }}
{% macro f() %}[{{ caller() }}]{% endmacro %}{% call f() %}x{% endcall %}
{% filter upper %}abc{{ text }}{% endfilter %}
{% set x | indent(2) %}a\n{{ text }}{% endset %}{{ x }}
{% with a=1 %}{{ a }}{% endwith %}{% raw %}{{ x }}{% endraw %}
{% block b %}in{% endblock %}{{ self.b() }}
{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + loop.index %}{% endfor %}{{ ns.n }}
{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set c = cycler(1, 2) %}{{ c.next() }}{{ c.next() }}{{ joiner(', ')() }}
{% generation %}{% set inside = 1 %}x{% endgeneration %}{{ inside is defined }}
{% autoescape true %}{{ text }}{% endautoescape %}
{% do messages %}
{% include 'x' %}
  {% if true %}\na\n  {% endif %}\nb
{%- set x = 1 -%}   {{- x -}}   z {#- c -#} y
""".strip().splitlines()


@pytest.mark.parametrize("construct", [*("{{ " + line + " }}" for line in FILTERS + METHODS), *STATEMENTS])
def test_construct_gives_what_transformers_gives(construct: str) -> None:
    source = "{% set text = messages[1].content %}{% set args = messages[2].tool_calls[0].function.arguments %}"
    source += construct.replace("%}\\n", "%}\n").replace("\\n  {%", "\n  {%")
    expected = render(source, MESSAGES, bos="<s>", eos="</s>")
    try:
        text: str | None = ChatTemplate(source, lambda text, special: [], {}, "<s>", "</s>").render(MESSAGES)
    except flyball.Error:
        text = None
    assert text == expected


@pytest.mark.parametrize(
    "construct",
    [
        "{% set l = [1] %}{% set _ = l.append(2) %}{{ l }}",
        "{% set l = [1, 2] %}{% set _ = l.pop(0) %}{% set _ = l.extend([3]) %}{% set _ = l.insert(0, 'x') %}{{ l }}",
        "{% set d = {'a': 1} %}{% set _ = d.update({'b': 2}) %}{{ d }}{{ d.pop('a') }}{{ d.setdefault('c', 3) }}",
        "{% set n = namespace(l=[]) %}{% for m in messages %}{% set _ = n.l.append(m.role) %}{% endfor %}{{ n.l }}",
        "{% set l = messages | list %}{% set _ = l.append(1) %}{{ l | length }}{{ messages | length }}",
        '{{ (\'{"a": [1, null, "\\\\u00e9"]}\' | from_json).a | last }}',
        "{{ ('{' | from_json) is defined }}",
    ],
)
def test_what_flyball_has_besides(construct: str) -> None:
    assert render(construct, MESSAGES) is None
    expected = render(construct, MESSAGES, wider=True)
    try:
        text: str | None = ChatTemplate(construct, lambda text, special: [], {}).render(MESSAGES)
    except flyball.TemplateError:
        text = None
    assert text == expected


def test_random_draws_from_its_list() -> None:
    assert ChatTemplate("{{ [1, 2] | random }}", lambda t, s: [], {}).render(MESSAGES) in ("1", "2")


def test_messages_are_never_changed() -> None:
    source = (
        "{% set l = messages | list %}{% set _ = l.pop() %}{% set _ = l.append(messages[0].copy()) %}{{ l[0].role }}"
    )
    before = repr(MESSAGES)
    assert ChatTemplate(source, lambda t, s: [], {}).render(MESSAGES) == "system"
    assert repr(MESSAGES) == before


def test_a_long_conversation_stays_within_the_bounds() -> None:
    """Lists that grow by a copy for each message are what templates do; 2,000 turns of them must render."""
    source = (
        "{% set ns = namespace(kept=[]) %}{% for m in messages %}{% set ns.kept = ns.kept + [m] %}{% endfor %}"
        "{% for m in ns.kept %}{{ m | tojson }}{{ m.content.strip() | replace('a', 'b') }}{% endfor %}"
    )
    messages = [{"role": "user", "content": f"turn {i} " * 20} for i in range(2000)]
    assert ChatTemplate(source, lambda t, s: [], {}).render(messages) == render(source, messages)
