"""How calls are forced, by the name of a format. A format that is not here can read calls, but not be held to them."""

from __future__ import annotations

from .forms import Writing

_CALL = ('{"name": "', '", "arguments": ', "}")
_XML_ARGUMENT = ("<parameter=", ">\n", "\n</parameter>\n")


def _listed(before: str, after: str, call: tuple[str, str, str] = _CALL) -> Writing:
    return Writing(call, ", ", (before, after))


_MISTRAL_NAMED = Writing(("[TOOL_CALLS]", "[ARGS]", ""))
_DEEPSEEK_3 = Writing(
    ("<｜tool▁call▁begin｜>function<｜tool▁sep｜>", "\n```json\n", "\n```<｜tool▁call▁end｜>"),
    "\n",
    ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
)
_OF = {
    "hermes": Writing(('<tool_call>\n{"name": "', '", "arguments": ', "}\n</tool_call>"), "\n"),
    "mistral": _listed("[TOOL_CALLS][", "]"),
    "llama 3": Writing(('{"name": "', '", "parameters": ', "}"), None),
    "llama 4": Writing(('{"name": "', '", "parameters": ', "}"), None),
    "nemotron 2": _listed("<TOOLCALL>[", "]</TOOLCALL>"),
    "tool_calls": _listed("<tool_calls>[", "]</tool_calls>"),
    "granite 3": _listed("<|tool_call|>[", "]"),
    "firefunction": _listed("functools[", "]"),
    "apertus": _listed("<|tools_prefix|>[", "]<|tools_suffix|>", ('{"', '": ', "}")),
    "command": _listed(
        "<|START_ACTION|>[",
        "]<|END_ACTION|>",
        ('{"tool_call_id": "{{number}}", "tool_name": "', '", "parameters": ', "}"),
    ),
    "command r": _listed("Action: ```json\n[", "]\n```\n", ('{"tool_name": "', '", "parameters": ', "}")),
    "functionary 3.1": Writing(("<function=", ">", "</function>")),
    "kimi k2": Writing(
        ("<|tool_call_begin|>functions.", ":{{number}}<|tool_call_argument_begin|>", "<|tool_call_end|>"),
        "",
        ("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
    ),
    "deepseek": Writing(
        ("<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"),
        "",
        ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
    ),
    "qwen xml": Writing(
        ("<tool_call>\n<function=", ">\n", "</function>\n</tool_call>"), "\n", argument=_XML_ARGUMENT
    ),
    "seed": Writing(
        ("<seed:tool_call>\n<function=", ">\n", "</function>\n</seed:tool_call>"), "\n", argument=_XML_ARGUMENT
    ),
    "glm": Writing(
        ("<tool_call>", "\n", "</tool_call>"),
        "\n",
        argument=("<arg_key>", "</arg_key>\n<arg_value>", "</arg_value>\n"),
    ),
    "minimax m2": Writing(
        ('<invoke name="', '">\n', "</invoke>\n"),
        "",
        ("<minimax:tool_call>\n", "</minimax:tool_call>"),
        ('<parameter name="', '">', "</parameter>\n"),
    ),
    "deepseek 3.2": Writing(
        ('<｜DSML｜invoke name="', '">\n', "</｜DSML｜invoke>\n"),
        "",
        ("<｜DSML｜function_calls>\n", "</｜DSML｜function_calls>"),
        ('<｜DSML｜parameter name="', '" string="{{string}}">', "</｜DSML｜parameter>\n"),
    ),
}  # fmt: skip


def of(name: str, template: str) -> Writing | None:
    """How the calls of a format are written; where it has two ways, the template tells which."""
    if name == "mistral" and "[ARGS]" in template:
        return _MISTRAL_NAMED
    if name == "deepseek" and "```json" in template:
        return _DEEPSEEK_3
    return _OF.get(name)
