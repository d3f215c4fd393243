"""Write the seeds of the fuzz targets that read GGUF files.

    python tests/fuzz/make_corpus.py DIRECTORY

DIRECTORY/gguf: small files of every kind that the reader knows. DIRECTORY/model: models of plain architectures and of
all recurrent ones, some kilobytes each, that load and run. The kept corpora in tests/fuzz/corpus were
grown from these, minimized with -merge=1.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
# type number -> (values in a block, bytes of a block)
TENSOR_TYPES = {
    0: (1, 4), 1: (1, 2), 30: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 20: (32, 18), 23: (256, 136),
}  # fmt: skip

Key = tuple[str, bytes]
Tensor = tuple[str, tuple[int, ...], int]


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def scalar(kind: int, value: float) -> bytes:
    return struct.pack("<I" + SCALARS[kind], kind, value)


def string(value: str | bytes) -> bytes:
    return struct.pack("<I", 8) + text(value)


def array(kind: int, *values: float) -> bytes:
    return struct.pack(f"<IIQ{len(values)}{SCALARS[kind]}", 9, kind, len(values), *values)


def strings(*values: str | bytes) -> bytes:
    return struct.pack("<IIQ", 9, 8, len(values)) + b"".join(map(text, values))


def gguf(
    keys: list[Key],
    tensors: list[Tensor] | None = None,
    version: int = 3,
    alignment: int = 32,
    fill: bool = False,
) -> bytes:
    """The file; `fill` gives the tensors bytes that are small numbers in every type, instead of zeros."""
    tensors = tensors or []
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys))
    for name, value in keys:
        out += text(name) + value
    offset, data = 0, b""
    for name, dims, kind in tensors:
        block, block_bytes = TENSOR_TYPES[kind]
        values = 1
        for dim in dims:
            values *= dim
        size = values // block * block_bytes
        out += text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)
        offset += size + -size % alignment
        one = 191 if name.endswith("ssm_a") else 63  # states decay by it: -1
        ones = bytes([0, 0, 128, one]) if kind in (0, 30) else bytes([0, 60, 1, 60])
        data += (ones * size)[:size] if fill else bytes(size)
        data += bytes(-size % alignment)
    if tensors:
        out += bytes(-len(out) % alignment) + data
    return out


def split(first: bytes, second: bytes) -> bytes:
    return b"SPLT" + struct.pack("<I", len(first)) + first + second


def seeds() -> dict[str, bytes]:
    every_scalar = [(f"k.{kind}", scalar(kind, 1)) for kind in SCALARS]
    every_array = [(f"a.{kind}", array(kind, 0, 1)) for kind in SCALARS]
    model = [
        ("general.architecture", string("llama")),
        ("llama.block_count", scalar(4, 1)),
        ("llama.rope.freq_base", scalar(6, 10000.0)),
        ("tokenizer.ggml.tokens", strings("<s>", "</s>", "a", b"\xff\x00", "")),
        ("tokenizer.ggml.scores", array(6, 0.0, 0.0, -1.0, -2.0, -3.0)),
        ("tokenizer.ggml.token_type", array(5, 3, 3, 1, 6, 1)),
        ("tokenizer.ggml.add_bos_token", scalar(7, 1)),
    ]
    weights: list[Tensor] = [
        ("token_embd.weight", (32, 5), 8),
        ("blk.0.attn_q.weight", (32, 32), 2),
        ("output_norm.weight", (32,), 0),
    ]

    def part(
        number: int, count: int, tensors: list[Tensor], keys: list[Key] | None = None, alignment: int = 32
    ) -> bytes:
        own = [("general.alignment", scalar(4, alignment))] if alignment != 32 else []
        numbers = [
            ("split.no", scalar(2, number)),
            ("split.count", scalar(2, count)),
            ("split.tensors.count", scalar(5, 3)),
        ]
        return gguf((keys or []) + own + numbers, tensors, alignment=alignment)

    files = {
        "empty_v2": gguf([], version=2),
        "empty_v3": gguf([]),
        "scalars": gguf(every_scalar),
        "arrays": gguf(every_array),
        "strings": gguf([("s", string("text")), ("e", strings()), ("l", strings("", "a", "bcd"))]),
        "model": gguf(model, weights),
        "model_v2": gguf(model, weights, version=2),
        "aligned": gguf([("general.alignment", scalar(4, 64)), *model[:2]], weights, alignment=64),
        "ranks": gguf([], [("1", (4,), 0), ("2", (4, 2), 0), ("3", (2, 2, 2), 1), ("4", (1, 2, 1, 2), 30)]),
        "split": split(part(0, 2, weights[:2], model), part(1, 2, weights[2:])),
        "split_aligned": split(part(0, 2, weights[:1]), part(1, 2, weights[1:], alignment=8)),
        "first_part_alone": part(0, 2, weights[:2]),
        "second_part_alone": part(1, 2, weights[2:]),
        "merged": part(0, 0, weights),
        "many_keys": gguf([(f"key.{i}", scalar(0, i)) for i in range(40)]),
        "old_format": b"tjgg" + bytes(16),
        "big_endian": b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
    }
    for kind, (block, _) in TENSOR_TYPES.items():
        files[f"type_{kind}"] = gguf([], [("w", (block, 2), kind), ("v", (2 * block,), kind)])
    return files


def words_of(vocabulary: str) -> tuple[list[Key], int]:
    """The keys of a small vocabulary, and how many tokens it has."""
    if vocabulary == "spm":
        pieces = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in (10, 32, 255)), "\u2581", "a", "b", "\u2581a", "ab"]
        kinds = [2, 3, 3, 6, 6, 6, *[1] * (len(pieces) - 6)]
        words = [("tokenizer.ggml.scores", array(6, *(-float(i) for i in range(len(pieces)))))]
        words += [("tokenizer.ggml.model", string("llama"))]
    else:
        pieces = ["a", "b", "c", "\u0120", "1", "ab", "\u0120a", "abc", "<|end|>", "<|im_end|>"]
        kinds = [*[1] * 8, 3, 3]
        words = [("tokenizer.ggml.merges", strings("a b", "\u0120 a", "ab c"))]
        words += [("tokenizer.ggml.model", string("gpt2")), ("tokenizer.ggml.pre", string(vocabulary))]
        words += [("tokenizer.ggml.bos_token_id", scalar(4, 8)), ("tokenizer.ggml.eos_token_id", scalar(4, 9))]
    named = [("tokenizer.ggml.tokens", strings(*pieces)), ("tokenizer.ggml.token_type", array(5, *kinds))]
    return named + words, len(pieces)


def tiny_model(arch: str, kind: int, vocabulary: str, extra: list[Key] | None = None, **sizes: int) -> bytes:
    """One layer, 32 wide: the smallest that has whole blocks of the small quantizations."""
    n_embd, n_head, n_kv, head, n_ff = (sizes.get(k, v) for k, v in SIZES.items())
    words, n_vocab = words_of(vocabulary)
    keys = [
        ("general.architecture", string(arch)),
        (f"{arch}.context_length", scalar(4, 64)),
        (f"{arch}.embedding_length", scalar(4, n_embd)),
        (f"{arch}.block_count", scalar(4, 1)),
        (f"{arch}.feed_forward_length", scalar(4, n_ff)),
        (f"{arch}.attention.head_count", scalar(4, n_head)),
        (f"{arch}.attention.head_count_kv", scalar(4, n_kv)),
        (f"{arch}.attention.key_length", scalar(4, head)),
        (f"{arch}.attention.value_length", scalar(4, head)),
        (f"{arch}.attention.layer_norm_rms_epsilon", scalar(6, 1e-5)),
        *words,
        *((f"{arch}.{name}", value) for name, value in extra or []),
    ]
    b = "blk.0."
    tensors: list[Tensor] = [
        ("token_embd.weight", (n_embd, n_vocab), kind),
        ("output_norm.weight", (n_embd,), 0),
        (b + "attn_norm.weight", (n_embd,), 0),
        (b + "attn_output.weight", (n_head * head, n_embd), kind),
        (b + "ffn_norm.weight", (n_embd,), 0),
        (b + "ffn_down.weight", (n_ff, n_embd), kind),
    ]
    if arch == "phi3":
        tensors += [(b + "attn_qkv.weight", (n_embd, (n_head + 2 * n_kv) * head), kind)]
        tensors += [(b + "ffn_up.weight", (n_embd, 2 * n_ff), kind)]
        tensors += [("rope_factors_long.weight", (head // 2,), 0), ("rope_factors_short.weight", (head // 2,), 0)]
    else:
        tensors += [(b + "attn_q.weight", (n_embd, n_head * head), kind)]
        tensors += [(b + f"attn_{x}.weight", (n_embd, n_kv * head), kind) for x in "kv"]
        tensors += [(b + f"ffn_{x}.weight", (n_embd, n_ff), kind) for x in ("gate", "up")]
    if arch in ("qwen3", "gemma3"):
        tensors += [(b + f"attn_{x}_norm.weight", (head,), 0) for x in "qk"]
    if arch in ("gemma2", "gemma3"):
        tensors += [(b + f"post_{x}_norm.weight", (n_embd,), 0) for x in ("attention", "ffw")]
    if arch == "qwen2":
        tensors += [(b + "attn_q.bias", (n_head * head,), 0)]
        tensors += [(b + f"attn_{x}.bias", (n_kv * head,), 0) for x in "kv"]
    if arch == "llama":
        tensors += [("rope_freqs.weight", (head // 2,), 0), ("output.weight", (n_embd, n_vocab), kind)]
    return gguf(keys, tensors, fill=True)


SIZES = {"n_embd": 32, "n_head": 2, "n_kv": 1, "head": 16, "n_ff": 32}


# Layers of hybrids: what mixes positions, and the feed-forward that follows.
HYBRIDS = {
    "qwen35": (("delta", "dense"), ("attention", "dense")),
    "qwen35moe": (("delta", "experts"), ("attention", "experts")),
    "qwen3next": (("delta", "experts"), ("attention", "experts")),
    "lfm2": (("convolution", "dense"), ("attention", "dense")),
    "lfm2moe": (("convolution", "dense"), ("attention", "experts")),
    "granitehybrid": (("mamba", "dense"), ("attention", "dense")),
    "nemotron_h": (("mamba", ""), ("", "dense"), ("attention", "")),
    "nemotron_h_moe": (("mamba", ""), ("", "experts"), ("attention", "")),
}


def hybrid_model(arch: str, kind: int) -> bytes:
    """A layer of each kind that the architecture has, 32 wide; two heads of 16, three experts of 32."""
    words, n_vocab = words_of("qwen2")
    layers, qwen, single = HYBRIDS[arch], arch.startswith("qwen3"), arch.startswith("nemotron")
    by_layer = {
        "attention.head_count": array(4, *[2] * len(layers)),
        "attention.head_count_kv": array(4, *(int(mixer == "attention") for mixer, _ in layers)),
        "feed_forward_length": array(4, *(32 if feed else 0 for _, feed in layers)),
    }
    delta = {"ssm.conv_kernel": 4, "ssm.state_size": 16, "ssm.group_count": 1, "ssm.time_step_rank": 2}
    delta |= {"ssm.inner_size": 32}
    if qwen:
        by_layer = {"attention.head_count": scalar(4, 2), "attention.head_count_kv": scalar(4, 1)}
        by_layer |= {"feed_forward_length": scalar(4, 32)}
        delta |= {"full_attention_interval": 2, "rope.dimension_count": 16}
    elif arch.startswith("lfm2"):
        delta = {"shortconv.l_cache": 3}
    numbers = {"context_length": 64, "embedding_length": 32, "block_count": len(layers)}
    numbers |= {"attention.key_length": 16, "attention.value_length": 16} | delta
    if any(feed == "experts" for _, feed in layers):
        numbers |= {"expert_count": 3, "expert_used_count": 2, "expert_feed_forward_length": 32}
        numbers |= {"expert_shared_feed_forward_length": 32} if qwen or single else {}
        numbers |= {"leading_dense_block_count": 1, "expert_gating_func": 2} if arch == "lfm2moe" else {}
    eps = {f"attention.layer_norm_{rms}epsilon": scalar(6, 1e-5) for rms in ("rms_", "")}
    values = {name: scalar(4, number) for name, number in numbers.items()} | by_layer | eps
    keys = [("general.architecture", string(arch)), *((f"{arch}.{name}", value) for name, value in values.items())]

    shapes: dict[str, tuple[int, ...]] = {"token_embd": (32, n_vocab)}
    shapes["token_embd_norm" if arch.startswith("lfm2") else "output_norm"] = (32,)
    for layer, (mixer, feed) in enumerate(layers):
        parts: dict[str, tuple[int, ...]] = {"attn_norm": (32,)}
        if mixer == "attention":
            parts |= {"attn_q": (32, 64 if qwen else 32), "attn_k": (32, 16), "attn_v": (32, 16)}
            parts |= {"attn_output": (32, 32)}
            parts |= {"attn_q_norm": (16,), "attn_k_norm": (16,)} if qwen or arch.startswith("lfm2") else {}
        elif mixer == "delta":
            parts |= {"attn_qkv": (32, 64), "attn_gate": (32, 32), "ssm_conv1d": (4, 64), "ssm_norm": (16,)}
            parts |= {"ssm_ba": (32, 4)} if arch == "qwen3next" else {"ssm_alpha": (32, 2), "ssm_beta": (32, 2)}
            parts |= {"ssm_dt.bias": (2,), "ssm_a": (2,), "ssm_out": (32, 32)}
        elif mixer == "mamba":
            parts |= {"ssm_in": (32, 32 + 64 + 2), "ssm_conv1d": (4, 64), "ssm_conv1d.bias": (64,), "ssm_d": (1, 2)}
            parts |= {"ssm_dt.bias": (2,), "ssm_a": (1, 2), "ssm_norm": (32, 1), "ssm_out": (32, 32)}
        elif mixer == "convolution":
            parts |= {"shortconv.in_proj": (32, 96), "shortconv.conv": (3, 32), "shortconv.out_proj": (32, 32)}
        if feed and not single:
            parts["post_attention_norm" if qwen else "ffn_norm"] = (32,)
        if feed == "experts":
            parts["ffn_gate_inp"] = (32, 3)
            matrices = ("up", "down") if single else ("gate", "up", "down")
            parts |= {f"ffn_{name}_exps": (32, 32, 3) for name in matrices}
            parts |= {f"ffn_{name}_shexp": (32, 32) for name in matrices if qwen or single}
            parts |= {"ffn_gate_inp_shexp": (32,)} if qwen else {"exp_probs_b.bias": (3,)}
        elif feed:
            parts |= {f"ffn_{name}": (32, 32) for name in (("up", "down") if single else ("gate", "up", "down"))}
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in parts.items()}
    plain = ("ssm_conv1d", "shortconv.conv", "ssm_norm", "ffn_gate_inp", "ssm_a", "ssm_d")
    tensors = []
    for name, shape in shapes.items():
        whole = name if name.endswith((".bias", "ssm_a", "ssm_d")) else name + ".weight"
        tensors.append((whole, shape, 0 if len(shape) == 1 or name.endswith(plain) else kind))
    return gguf(keys + words, tensors, fill=True)


def models() -> dict[str, bytes]:
    yarn = [("rope.scaling.type", string("yarn")), ("rope.scaling.factor", scalar(6, 4.0))]
    yarn += [("rope.scaling.original_context_length", scalar(4, 16)), ("rope.dimension_count", scalar(4, 16))]
    window = [("attention.sliding_window", scalar(4, 4)), ("final_logit_softcapping", scalar(6, 30.0))]
    files = {
        "llama_spm": tiny_model("llama", 0, "spm"),
        "llama_bpe": tiny_model("llama", 8, "llama-bpe", yarn),
        "qwen2": tiny_model("qwen2", 2, "qwen2"),
        "qwen3": tiny_model("qwen3", 1, "qwen2"),
        "gemma2": tiny_model("gemma2", 8, "spm", window),
        "gemma3": tiny_model("gemma3", 30, "spm", window),
        "phi3": tiny_model("phi3", 8, "spm", [("rope.scaling.original_context_length", scalar(4, 8))]),
        "k_quants": tiny_model("llama", 12, "gpt-2", n_embd=256, n_head=2, head=128, n_ff=256),
        "odd_sizes": tiny_model("llama", 0, "spm", n_embd=33, n_head=3, n_kv=3, head=6, n_ff=5),
    }
    for kind in (3, 6, 7, 20):
        files[f"llama_type_{kind}"] = tiny_model("llama", kind, "smollm")
    for i, arch in enumerate(HYBRIDS):
        files[arch] = hybrid_model(arch, (8, 2, 3, 7)[i % 4])
    return files


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for kind, files in (("gguf", seeds()), ("model", models())):
        directory = Path(sys.argv[1]) / kind
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (directory / f"{name}.gguf").write_bytes(content)


if __name__ == "__main__":
    main()
