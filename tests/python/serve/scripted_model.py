"""A model that writes what a test has it write: each token follows from the one before it, whatever came earlier.

Its layer adds nothing, so the logits depend on the last token alone: a token that a script has points, in a dimension
of its own, at the next one, by so much that no temperature changes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests.reference import gguf_file as gf
from tests.reference.models import byte_letters

Weights = npt.NDArray[np.float32]
_WIDTH = 64
_NORMAL, _CONTROL = 1, 3
_SURE = 40.0


TEMPLATE = (
    "{% if tools %}<|turn|>tools\n{{ tools | tojson }}\n{% endif %}"
    "{% for m in messages %}<|turn|>{{ m.role }}\n"
    "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}{{ m.content }}"
    "{% for call in m.tool_calls or [] %}{{ '\n' }}<tool_call>\n"
    '{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}\n</tool_call>'
    "{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant"
    "{% if enable_thinking is defined and not enable_thinking %}:{% else %}\n<think>\n{% endif %}{% endif %}"
)
THOUGHTS, TEXT = "Hm, so.", "Let me see. "
# With thoughts a text and a call of a tool, without them a text alone.
SCRIPTS = {
    "\n": [
        "Hm", ", so", ".\n", "</think>\n\n", "Let me ", "see. ",
        "<tool_call>\n", '{"name": "weather", ', '"arguments": {"city": ', '"Paris"}}', "\n</tool_call>",
    ],
    ":": ["One, ", "two, ", "three."],
}  # fmt: skip


def write_scripted_model(
    path: Path,
    template: str = TEMPLATE,
    scripts: Mapping[str, Sequence[str]] = SCRIPTS,
    context: int = 4096,
    endless: bool = False,
) -> Path:
    """`scripts`: the pieces of an answer, one token each, by the character that ends the prompt. `endless`: begin them
    again instead of ending the answer."""
    letters = byte_letters()
    pieces = [(start, number, text) for start, script in scripts.items() for number, text in enumerate(script)]
    tokens = [*letters, *("".join(letters[byte] for byte in text.encode()) for _, _, text in pieces)]
    if twins := [token for token in tokens if tokens.count(token) > 1]:
        raise ValueError(f"{twins} are there twice: each piece leads to one other")
    eos = len(tokens)
    tokens += ["<|end|>", "<|turn|>"]
    kinds = [_NORMAL] * eos + [_CONTROL] * 2
    ids = {(start, number): len(letters) + i for i, (start, number, _) in enumerate(pieces)}
    follows: list[tuple[int, int]] = []
    for start, script in scripts.items():
        (byte,) = start.encode()
        row = [byte, *(ids[start, number] for number in range(len(script)))]
        row.append(row[1] if endless else eos)
        follows += pairwise(row)
    metadata = _metadata(tokens, kinds, eos, template, context)
    gf.write_gguf(path, metadata, [_tensor(*named) for named in _weights(len(tokens), follows).items()])
    return path


def _metadata(
    tokens: Sequence[str], kinds: Sequence[int], eos: int, template: str, context: int
) -> dict[str, gf.Value]:
    return {
        "general.architecture": gf.string("llama"),
        "llama.context_length": gf.u32(context),
        "llama.embedding_length": gf.u32(_WIDTH),
        "llama.block_count": gf.u32(1),
        "llama.feed_forward_length": gf.u32(_WIDTH),
        "llama.attention.head_count": gf.u32(1),
        "llama.attention.layer_norm_rms_epsilon": gf.f32(1e-5),
        "llama.vocab_size": gf.u32(len(tokens)),
        "tokenizer.ggml.model": gf.string("gpt2"),
        "tokenizer.ggml.pre": gf.string("gpt-2"),
        "tokenizer.ggml.tokens": gf.strings(tokens),
        "tokenizer.ggml.token_type": gf.i32s(kinds),
        "tokenizer.ggml.merges": gf.strings([]),
        "tokenizer.ggml.bos_token_id": gf.u32(eos),
        "tokenizer.ggml.eos_token_id": gf.u32(eos),
        "tokenizer.ggml.add_bos_token": gf.boolean(False),
        "tokenizer.chat_template": gf.string(template),
    }


def _weights(n_tokens: int, follows: Sequence[tuple[int, int]]) -> dict[str, Weights]:
    if len(follows) > _WIDTH:
        raise ValueError(f"the scripts have {len(follows)} steps, at most {_WIDTH}")
    embedding = np.full((n_tokens, _WIDTH), 1e-3, np.float32)
    output = np.zeros((n_tokens, _WIDTH), np.float32)
    for dimension, (token, following) in enumerate(follows):
        embedding[token] = 0
        embedding[token, dimension] = 1
        output[following, dimension] = _SURE
    square, ones = np.zeros((_WIDTH, _WIDTH), np.float32), np.ones(_WIDTH, np.float32)
    matrices = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    block: dict[str, Weights] = dict.fromkeys(matrices, square)
    block |= {"attn_norm": ones, "ffn_norm": ones}
    named: dict[str, Weights] = {"token_embd.weight": embedding, "output_norm.weight": ones, "output.weight": output}
    return named | {f"blk.0.{name}.weight": values for name, values in block.items()}


def _tensor(name: str, values: Weights) -> gf.Tensor:
    return gf.Tensor(name, values.shape, "F32", lambda: [values.tobytes()])
