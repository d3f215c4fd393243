"""Write a checkpoint as GGUF: Q8_0 to ship, F16 as the source of further quantizations."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import gguf
import torch
from gguf import GGMLQuantizationType as QuantType
from model import ModelConfig
from tokenizer import SPECIAL

MAX_BYTES = 8_000_000
LICENSE = "apache-2.0"
FILE_TYPES = {
    "q8_0": (QuantType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
    "f16": (QuantType.F16, gguf.LlamaFileType.MOSTLY_F16),
}
DESCRIPTION = (
    "A demonstration model of the Flyball runtime, trained on one CPU core on composed text. It tells short "
    "stories and "
    "answers a few narrow kinds of questions; it knows nothing else and is not meant for use."
)
CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
BLOCK_NAMES = {
    "attn_norm": "attn_norm", "attn.q": "attn_q", "attn.k": "attn_k", "attn.v": "attn_v", "attn.o": "attn_output",
    "ffn_norm": "ffn_norm", "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down",
}  # fmt: skip


def gguf_name(name: str) -> str:
    """The GGUF name of a weight of `DemoModel`."""
    if name.startswith("blocks."):
        _, number, rest = name.split(".", 2)
        return f"blk.{number}.{BLOCK_NAMES[rest.removesuffix('.weight')]}.weight"
    return {"embed.weight": "token_embd.weight", "norm.weight": "output_norm.weight"}[name]


def add_settings(writer: gguf.GGUFWriter, config: ModelConfig, file_type: gguf.LlamaFileType) -> None:
    """General and architecture fields."""
    writer.add_name("Flyball Demo")
    writer.add_description(DESCRIPTION)
    writer.add_license(LICENSE)
    writer.add_file_type(file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(config.n_ctx)
    writer.add_embedding_length(config.n_embd)
    writer.add_block_count(config.n_layer)
    writer.add_feed_forward_length(config.n_ff)
    writer.add_head_count(config.n_head)
    writer.add_head_count_kv(config.n_kv_head)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_base)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_vocab_size(config.n_vocab)


def add_tokenizer(writer: gguf.GGUFWriter, path: Path) -> None:
    """Vocabulary, merges and chat template; no BOS is added, as none was trained."""
    model = json.loads(path.read_text(encoding="utf-8"))["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    types = [gguf.TokenType.CONTROL if token in SPECIAL else gguf.TokenType.NORMAL for token in tokens]
    end_of_text, _, turn_end = (model["vocab"][token] for token in SPECIAL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(merge) for merge in model["merges"]])
    writer.add_bos_token_id(end_of_text)
    writer.add_eos_token_id(turn_end)
    writer.add_eot_token_id(turn_end)
    writer.add_pad_token_id(end_of_text)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def export(work: Path, kind: str, out: Path) -> None:
    """Write `out`; norms stay F32, as every runtime expects."""
    checkpoint = torch.load(work / "checkpoint.pt", weights_only=True)
    quant_type, file_type = FILE_TYPES[kind]
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".partial")
    writer = gguf.GGUFWriter(partial, "llama")
    add_settings(writer, ModelConfig(**checkpoint["config"]), file_type)
    add_tokenizer(writer, work / "tokenizer.json")
    for name, weight in checkpoint["weights"].items():
        stored = quant_type if weight.ndim == 2 else QuantType.F32
        data = gguf.quants.quantize(weight.float().numpy(), stored)
        writer.add_tensor(gguf_name(name), data, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    size = partial.stat().st_size
    if kind == "q8_0" and size > MAX_BYTES:
        raise SystemExit(f"{out}: {size} bytes, more than {MAX_BYTES}")
    partial.rename(out)
    print(f"{out}: {size} bytes, step {checkpoint['step']}, {checkpoint['tokens']} tokens")


def main() -> None:
    """Export one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--type", choices=FILE_TYPES, default="q8_0")
    args = parser.parse_args()
    export(args.work, args.type, args.out)


if __name__ == "__main__":
    main()
