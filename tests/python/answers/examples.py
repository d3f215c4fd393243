"""One answer in each format: what stands in a template, what the model writes, and what that means."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "days": {"type": "integer"},
                    "where": {"type": ["object", "null"]},
                    "list": {"type": "array"},
                },
            },
        },
    },
    {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}},
]
PARIS = {"city": "Paris", "days": 3}
JSON = '{"city": "Paris", "days": 3}'


class Example(NamedTuple):
    """`marks` is a template's text; `tail` the end of the prompt; `text` the answer."""

    name: str
    marks: str
    text: str
    content: str = "Look."
    reasoning: str = "Hm."
    calls: tuple[tuple[str, dict[str, Any]], ...] = (("weather", PARIS),)
    tail: str = ""
    controls: tuple[str, ...] = ()


def xml(*parameters: tuple[str, str]) -> str:
    inner = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in parameters)
    return f"<tool_call>\n<function=weather>\n{inner}</function>\n</tool_call>"


def pairs(between: str = "\n", suffix: str = "") -> str:
    return between.join(
        f"<arg_key{suffix}>{key}</arg_key{suffix}>{between}<arg_value{suffix}>{value}</arg_value{suffix}>"
        for key, value in PARIS.items()
    )


_THINK = "<think>\nHm.\n</think>\n\n"
_INVOKE = (
    '<invoke name="weather">\n<parameter name="city">Paris</parameter>\n<parameter name="days">3</parameter>\n</invoke>'
)
_HERMES = "<tool_call> </think>"
_QWEN = "<tool_call> <function= <parameter= </think>"
_GEMMA = "<|tool_call>call: <|channel>thought\n <channel|>"
_GEMMA_CONTROLS = ("<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", '<|"|>')
_HARMONY = "<|channel|> <|message|>"
_HARMONY_CONTROLS = ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|constrain|>")
_GLM = "<arg_key> <think>"
_DSML = "<｜DSML｜function_calls>\n" + _INVOKE.replace("</", "</｜DSML｜").replace("<i", "<｜DSML｜i").replace(
    "<p", "<｜DSML｜p"
)
_TWO: tuple[tuple[str, dict[str, Any]], ...] = (("weather", PARIS), ("clock", {}))

EXAMPLES = [
    Example(
        "hermes", _HERMES, _THINK + f'Look.\n<tool_call>\n{{"name": "weather", "arguments": {JSON}}}\n</tool_call>'
    ),
    Example(
        "hermes, two calls",
        _HERMES,
        f'Look.\n<tool_call>\n{{"name": "weather", "arguments": {JSON}}}\n</tool_call>\n'
        '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>',
        reasoning="",
        calls=_TWO,
    ),
    Example("hermes, no end", _HERMES, f'Look.<tool_call>{{"name": "weather", "arguments": {JSON}}}', reasoning=""),
    Example(
        "hermes, arguments as text",
        _HERMES,
        f"<tool_call>{json.dumps({'name': 'weather', 'arguments': JSON})}</tool_call>",
        content="",
        reasoning="",
    ),
    Example(
        "hermes, the end within a text",
        _HERMES,
        '<tool_call>{"name": "weather", "arguments": {"city": "</tool_call>\\n", "days": 3}}</tool_call> Done.',
        content="Done.",
        reasoning="",
        calls=(("weather", {"city": "</tool_call>\n", "days": 3}),),
    ),
    Example("hermes, opened by the prompt", _HERMES, "Hm.\n</think>\n\nLook.", calls=(), tail="assistant\n<think>\n"),
    Example("hermes, opened twice", _HERMES, "<think>\nHm.</think>Look.", calls=(), tail="assistant\n<think>\n"),
    Example("hermes, closed by the prompt", _HERMES, "Look.", reasoning="", calls=(), tail="<think>\n\n</think>\n\n"),
    Example("hermes, thoughts without end", _HERMES, "Hm.", content="", calls=(), tail="<think>"),
    Example(
        "hermes, a tag in thoughts",
        _HERMES,
        "<think>Hm. <tool_call></think>Look.",
        reasoning="Hm. <tool_call>",
        calls=(),
    ),
    Example("qwen xml", _QWEN, _THINK + "Look.\n\n" + xml(("city", "Paris"), ("days", "3"))),
    Example(
        "qwen xml, values",
        _QWEN,
        xml(("city", "\nx </parameter> y\n"), ("where", '{"a": [1, true]}'), ("list", "[]"), ("days", "None")),
        content="",
        reasoning="",
        calls=(("weather", {"city": "\nx </parameter> y\n", "where": {"a": [1, True]}, "list": [], "days": None}),),
    ),
    Example(
        "qwen xml, outer tag forgotten",
        _QWEN,
        "Look.\n" + xml(("city", "Paris"), ("days", "3")).removeprefix("<tool_call>\n"),
        reasoning="",
    ),
    Example(
        "qwen xml, no parameters",
        _QWEN,
        "<tool_call>\n<function=clock>\n</function>\n</tool_call>",
        content="",
        reasoning="",
        calls=(("clock", {}),),
    ),
    Example("glm", _GLM, f"Hm.</think>Look.<tool_call>weather\n{pairs()}\n</tool_call>", tail="<think>"),
    Example(
        "glm, tokens",
        _GLM,
        "<think>Hm.</think>Look.<tool_call>weather<arg_key>city</arg_key><arg_value>Paris</arg_value>"
        "<arg_key>days</arg_key><arg_value>3</arg_value></tool_call><tool_call>clock</tool_call>",
        calls=_TWO,
        controls=(
            "<think>",
            "</think>",
            "<tool_call>",
            "</tool_call>",
            "<arg_key>",
            "</arg_key>",
            "<arg_value>",
            "</arg_value>",
        ),
    ),
    Example(
        "hunyuan 3",
        "arg_key <tool_calls:opensource>",
        "<think:opensource>Hm.</think:opensource>Look.<tool_calls:opensource>\n<tool_call:opensource>weather"
        f"<tool_sep:opensource>\n{pairs(suffix=':opensource')}\n</tool_call:opensource>\n</tool_calls:opensource>",
    ),
    Example(
        "seed",
        "<seed:tool_call> <seed:think>",
        "<seed:think>Hm.</seed:think>\nLook.\n\n"
        + xml(("city", "Paris"), ("days", "3")).replace("tool_call", "seed:tool_call"),
    ),
    Example(
        "minimax m2",
        "<minimax:tool_call> <think>",
        f"Hm.\n</think>\n\nLook.\n<minimax:tool_call>\n{_INVOKE}\n</minimax:tool_call>",
        tail="<think>\n",
    ),
    Example(
        "minimax m3",
        "]<]minimax[>[ <mm:think>",
        "<mm:think>Hm.</mm:think>Look.]<]minimax[>[<tool_call>\n]<]minimax[>["
        '<invoke name="weather">]<]minimax[>[<city>Paris'
        "]<]minimax[>[</city>]<]minimax[>[<days>3]<]minimax[>[</days>]<]minimax[>[<list>]"
        "<]minimax[>[<item>1]<]minimax[>[</item>"
        "]<]minimax[>[</list>]<]minimax[>[</invoke>\n]<]minimax[>[</tool_call>",
        calls=(("weather", {**PARIS, "list": [1]}),),
    ),
    Example(
        "deepseek 3.2",
        "｜DSML｜ </think>",
        f"Hm.</think>Look.\n\n{_DSML}\n</｜DSML｜function_calls>".replace('city">', 'city" string="true">').replace(
            'days">', 'days" string="false">'
        ),
        tail="<think>",
    ),
    Example(
        "deepseek 3.1",
        "<｜tool▁call▁begin｜> </think>",
        f"Hm.</think>Look.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{JSON}"
        f"<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        tail="<think>",
        controls=(
            "<｜tool▁calls▁begin｜>",
            "<｜tool▁call▁begin｜>",
            "<｜tool▁sep｜>",
            "<｜tool▁call▁end｜>",
            "<｜tool▁calls▁end｜>",
            "</think>",
        ),
    ),
    Example(
        "deepseek r1",
        "<｜tool▁call▁begin｜> </think>",
        "<think>\nHm.\n</think>\n\nLook.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n"
        f"{JSON}\n```<｜tool▁call▁end｜>\n<｜tool▁calls▁end｜>",
    ),
    Example(
        "kimi k2",
        "<|tool_call_argument_begin|> <think>",
        "<think>Hm.</think>Look.<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0"
        f"<|tool_call_argument_begin|>{JSON}<|tool_call_end|><|tool_calls_section_end|>",
    ),
    Example(
        "kimi k3",
        "<|open|> <|end_of_msg|>",
        "Hm.<|close|>think<|sep|><|open|>response<|sep|>Look.<|close|>response<|sep|><|open|>tools"
        '<|sep|><|open|>call tool="weather"'
        ' index="1"<|sep|><|open|>argument key="city" type="string"<|sep|>Paris<|close|>argument'
        '<|sep|><|open|>argument key="days"'
        ' type="number"<|sep|>3<|close|>argument<|sep|><|close|>call<|sep|><|close|>tools<|sep|>'
        "<|close|>message<|sep|>",
        tail="<|open|>think<|sep|>",
        controls=("<|open|>", "<|close|>", "<|sep|>"),
    ),
    Example(
        "mistral",
        "[TOOL_CALLS]",
        f'[TOOL_CALLS][{{"name": "weather", "arguments": {JSON}, "id": "abcdefghi"}}]',
        content="",
        reasoning="",
    ),
    Example(
        "mistral, names",
        "[TOOL_CALLS] [THINK]",
        f"[THINK]Hm.[/THINK]Look.[TOOL_CALLS]weather[ARGS]{JSON}[TOOL_CALLS]clock[ARGS]{{}}",
        calls=_TWO,
        controls=("[TOOL_CALLS]", "[ARGS]", "[THINK]", "[/THINK]"),
    ),
    Example(
        "mistral, ids", "[TOOL_CALLS]", f"[TOOL_CALLS]weather[CALL_ID]abcdefghi[ARGS]{JSON}", content="", reasoning=""
    ),
    Example(
        "command",
        "<|START_ACTION|> <|START_THINKING|>",
        "Hm.<|END_THINKING|><|START_ACTION|>[\n    "
        f'{{"tool_call_id": "0", "tool_name": "weather", "parameters": {JSON}}}\n]<|END_ACTION|>',
        content="",
        tail="<|START_THINKING|>",
    ),
    Example("command, text", "<|START_ACTION|>", "<|START_RESPONSE|>Look.<|END_RESPONSE|>", reasoning="", calls=()),
    Example(
        "command r",
        "directly-answer Action:",
        f'Action: ```json\n[\n  {{"tool_name": "weather", "parameters": {JSON}}}\n]```',
        content="```",
        reasoning="",
    ),
    Example(
        "lfm",
        "<|tool_call_start|> </think>",
        "<think>Hm.</think>Look.<|tool_call_start|>[weather(city='Paris', days=3), clock()]<|tool_call_end|>",
        calls=_TWO,
        controls=("<|tool_call_start|>", "<|tool_call_end|>", "<think>", "</think>"),
    ),
    Example(
        "nemotron 2",
        "<TOOLCALL> </think>",
        f'Hm.\n</think>\n\nLook.\n<TOOLCALL>[{{"name": "weather", "arguments": {JSON}}}]</TOOLCALL>',
        tail="<think>\n",
    ),
    Example(
        "apertus",
        "<|tools_prefix|> <|inner_prefix|>",
        f'<|inner_prefix|>Hm.<|inner_suffix|>Look.<|tools_prefix|>[{{"weather": {JSON}}}]<|tools_suffix|>',
    ),
    Example(
        "apriel",
        "<tool_calls> [BEGIN FINAL RESPONSE]",
        f'Hm.\n[BEGIN FINAL RESPONSE]\nLook.\n<tool_calls>[{{"name": "weather", "arguments": {JSON}}}]</tool_calls>',
        tail="Here are my reasoning steps:\n",
    ),
    Example(
        "solar",
        "<|tool_call:begin|>",
        "<|think|>Hm.<|end|><|begin|>assistant<|content|>Look.<|end|><|begin|>assistant"
        "<|tool_calls|><|tool_call:begin|>abcdefghi"
        f"<|tool_call:name|>weather<|tool_call:args|>{JSON}<|tool_call:end|><|calls|>",
    ),
    Example(
        "gigachat",
        "<|function_call|>",
        f'Look.<|function_call|>{{"name": "weather", "arguments": {JSON}}}',
        reasoning="",
    ),
    Example(
        "gigachat 3",
        "function call <|role_sep|>",
        f'Look.<|message_sep|>\n\nfunction call<|role_sep|>\n{{"name": "weather", "arguments": {JSON}}}',
        reasoning="",
    ),
    Example("firefunction", "functools[", f'Look. functools[{{"name": "weather", "arguments": {JSON}}}]', reasoning=""),
    Example(
        "granite 3",
        "<|tool_call|> <think>",
        f'<think>Hm.</think><response>Look.</response><|tool_call|>[{{"name": "weather", "arguments": {JSON}}}]',
    ),
    Example(
        "granite 3, with an end",
        "<|tool_call|>",
        f'Look.<|tool_call|>[{{"name": "weather", "arguments": {JSON}}}]<|/tool_call|>',
        reasoning="",
    ),
    Example("functionary 3.1", "<function= </function>", f"Look.<function=weather>{JSON}</function>", reasoning=""),
    Example(
        "functionary 3.2",
        ">>>all",
        f"all\nLook.\n>>> x>>>weather\n{JSON}>>>clock\n{{}}",
        content="Look.\n>>> x",
        reasoning="",
        calls=_TWO,
        tail=">>>",
    ),
    Example(
        "minicpm 5",
        '<function name=" <param name=" <think>',
        '<think>\nHm.\n</think>\n\nLook.\n<function name="weather"><param name="city"><![CDATA[Paris]]></param>'
        '<param name="days">3</param></function>',
    ),
    Example(
        "llama 3",
        'Respond in the format {"name": function name, "parameters"',
        f'{{"name": "weather", "parameters": {JSON}}}',
        content="",
        reasoning="",
    ),
    Example(
        "llama 3, another mapping",
        'Respond in the format {"name": function name, "parameters"',
        '{"name": "no tool", "parameters": {}} Look.',
        content='{"name": "no tool", "parameters": {}} Look.',
        reasoning="",
        calls=(),
    ),
    Example(
        "llama 4",
        'Respond in the format {"name": function name, "parameters" <|python_start|>',
        f'<|python_start|><|python_end|>{{"name": "weather", "parameters": {JSON}}}',
        content="",
        reasoning="",
        controls=("<|python_start|>", "<|python_end|>"),
    ),
    Example(
        "llama 4, a list",
        "<|python_start|>",
        "<|python_start|>[weather(city='Paris', days=3), clock()]<|python_end|>",
        content="",
        reasoning="",
        calls=_TWO,
        controls=("<|python_start|>", "<|python_end|>"),
    ),
    Example(
        "llama 4, brackets in a text",
        "<|python_start|>",
        "[weather(city='a]b', list=[1, [2]])]",
        content="",
        reasoning="",
        calls=(("weather", {"city": "a]b", "list": [1, [2]]}),),
    ),
    Example(
        "llama 4, another list",
        "<|python_start|>",
        "[1] Look, [weather(city='Paris')].",
        content="[1] Look, [weather(city='Paris')].",
        reasoning="",
        calls=(),
    ),
    Example(
        "gemma 4",
        _GEMMA,
        '<|channel>thought\nHm.\n<channel|>Look.<|tool_call>call:weather{city:<|"|>Paris<|"|>,days:3}<tool_call|>',
        controls=_GEMMA_CONTROLS,
    ),
    Example(
        "gemma 4, values",
        _GEMMA,
        '<|tool_call>call:weather{city:<|"|>a,}:"b<|"|>,where:{x:[true,-1.5,null],y:{}},list:[<|"|>a'
        '<|"|>]}<tool_call|>',
        content="",
        reasoning="",
        calls=(("weather", {"city": 'a,}:"b', "where": {"x": [True, -1.5, None], "y": {}}, "list": ["a"]}),),
        controls=_GEMMA_CONTROLS,
    ),
    Example(
        "harmony",
        _HARMONY,
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary<|message|>Look.<|end|>"
        f"<|start|>assistant<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{JSON}",
        tail="<|start|>assistant",
        controls=_HARMONY_CONTROLS,
    ),
    Example(
        "harmony, name in the role",
        _HARMONY,
        f"<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant to=functions.weather"
        f"<|channel|>commentary json<|message|>{JSON}",
        content="",
        controls=_HARMONY_CONTROLS,
    ),
    Example(
        "harmony, two headers",
        _HARMONY,
        "<|channel|>commentary to=assistant<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final"
        " <|constrain|>json<|message|>Look.",
        calls=(),
        controls=_HARMONY_CONTROLS,
    ),
    Example(
        "harmony, no header",
        _HARMONY,
        "Look. \n",
        content="Look. \n",
        reasoning="",
        calls=(),
        controls=_HARMONY_CONTROLS,
    ),
    Example(
        "harmony, unknown header",
        _HARMONY,
        "<|channel|>what is this<|message|>Look.<|end|>",
        reasoning="",
        calls=(),
        controls=_HARMONY_CONTROLS,
    ),
    Example(
        "harmony, arguments that are none",
        _HARMONY,
        "<|channel|>commentary to=python code<|message|>Look.",
        reasoning="",
        calls=(),
        controls=_HARMONY_CONTROLS,
    ),
    Example(
        "muse",
        "<atem:function_calls> <|message|>",
        " to=self<|message|>Hm.<|eom|><|start|>assistant to=user<|message|>Look.<|eom|>"
        "<|start|>assistant to=weather<|message|>"
        '<atem:function_calls>\n<atem:invoke name="weather">\n<atem:parameter name="city">Paris</atem:parameter>\n'
        '<atem:parameter name="days">3</atem:parameter>\n</atem:invoke>\n</atem:function_calls>',
    ),
    Example("thoughts of an unknown family", "{{ '</think>' }}", "<think>\nHm.\n</think>\n\nLook.", calls=()),
    Example(
        "plain",
        "{{ m.content }}",
        " <think>a <tool_call> b\n\n",
        content=" <think>a <tool_call> b\n\n",
        reasoning="",
        calls=(),
    ),
]
