"""Files that hold a vocabulary and templates, and no model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.reference import gguf_file as gf
from tests.reference.models import byte_letters

_NORMAL, _CONTROL = 1, 3


def write_vocabulary(path: Path, controls: list[str], templates: Mapping[str, str] = {}) -> Path:
    """A GGUF file with a byte-level vocabulary, these control tokens, and templates by the end of their keys."""
    letters = [*byte_letters(), "Ġt", "he"]
    tokens = [*letters, "<s>", "</s>", *controls]
    kinds = [_NORMAL] * len(letters) + [_CONTROL] * (len(tokens) - len(letters))
    metadata = {
        "general.architecture": gf.string("llama"),
        "llama.context_length": gf.u32(4096),
        "llama.embedding_length": gf.u32(64),
        "llama.block_count": gf.u32(1),
        "llama.feed_forward_length": gf.u32(64),
        "llama.attention.head_count": gf.u32(1),
        "llama.attention.layer_norm_rms_epsilon": gf.f32(1e-5),
        "llama.vocab_size": gf.u32(len(tokens)),
        "tokenizer.ggml.model": gf.string("gpt2"),
        "tokenizer.ggml.pre": gf.string("llama-bpe"),
        "tokenizer.ggml.tokens": gf.strings(tokens),
        "tokenizer.ggml.token_type": gf.i32s(kinds),
        "tokenizer.ggml.merges": gf.strings(["Ġ t", "h e"]),
        "tokenizer.ggml.bos_token_id": gf.u32(len(letters)),
        "tokenizer.ggml.eos_token_id": gf.u32(len(letters) + 1),
        "tokenizer.ggml.add_bos_token": gf.boolean(False),
    }
    metadata |= {"tokenizer.chat_template" + end: gf.string(text) for end, text in templates.items()}
    gf.write_gguf(path, metadata, [])
    return path
