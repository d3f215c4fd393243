"""`flyball info`: describe a model file and the memory that it needs."""

from __future__ import annotations

import argparse
from collections import Counter

from ..engine.adapter import AdapterFile, describe_adapter
from ..engine.model import Model, demo_model_path
from . import common


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "info", help="describe a model file or an adapter", description=__doc__, parents=[common.MODEL, common.JSON]
    )
    parser.add_argument("--tensors", action="store_true", help="list every tensor")
    parser.add_argument("--metadata", action="store_true", help="list every metadata key")
    parser.add_argument("--fingerprint", action="store_true", help="also hash the whole file")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Open the file without preparing its weights, and describe it."""
    if args.model and (adapter := describe_adapter(args.model)):
        if args.json:
            common.write_json({"type": "adapter", **vars(adapter)})
        else:
            _show_adapter(adapter)
        return common.SUCCESS
    with Model.load(args.model or demo_model_path(), vocab_only=True, threads=1) as model:
        described = describe(model, args.fingerprint)
        if args.json:
            common.write_json(described)
        else:
            _show(model, described, args)
    return common.SUCCESS


def _show_adapter(adapter: AdapterFile) -> None:
    scale = f"alpha {adapter.alpha:g}" if adapter.alpha else "no alpha"
    common.write_table([
        ("file", adapter.path),
        ("name", common.printable(adapter.name) or "-"),
        ("kind", f"LoRA adapter for a model of architecture {common.printable(adapter.architecture)}"),
        ("rank", f"{adapter.rank}, {scale}"),
        ("matrices", f"{adapter.n_pairs}, {adapter.quantization}"),
        ("size", common.size(adapter.file_bytes)),
        ("fingerprint", adapter.fingerprint),
    ])  # fmt: skip


def describe(model: Model, fingerprint: bool = False) -> dict[str, object]:
    """The whole description, for JSON."""
    info = model.info
    tensors = model.tensors()
    bytes_by_type: Counter[str] = Counter()
    for _, kind, _, n_bytes in tensors:
        bytes_by_type[kind] += n_bytes
    context = min(info.context_length, 8192)
    needs = model.needs()
    described: dict[str, object] = {
        name: getattr(info, name)
        for name in info.__dataclass_fields__
        if not name.startswith("_") and name not in ("isa", "threads", "vocab_only", "weight_bytes", "in_file_bytes")
    }
    described |= {
        "n_tensors": len(tensors),
        "bytes_by_type": dict(bytes_by_type),
        "cache_bytes": {kind: info.cache_bytes(context, kind) for kind in ("f16", "f32", "q8_0")},
        "cache_context": context,
        "needs": None if needs is None else {"weight_bytes": needs[0], "token_bytes": needs[1]},
        "metadata": model.metadata(),
        "keys_not_read": model.keys_not_read(),
        "problem": model.problem(),
        "tensors": [{"name": n, "type": t, "shape": list(s), "bytes": b} for n, t, s, b in tensors],
    }
    if fingerprint:  # of the file as it is, whatever is remembered: who asks may doubt the disk
        described["fingerprint"] = model.fingerprint(common.Progress(), anew=True)
    return described


def _show(model: Model, described: dict[str, object], args: argparse.Namespace) -> None:
    info = model.info
    tensors = model.tensors()
    by_type: dict[str, list[int]] = {}
    for _, kind, _, n_bytes in tensors:
        by_type.setdefault(kind, []).append(n_bytes)
    types = ", ".join(f"{kind} {common.size(sum(sizes))} in {len(sizes)}" for kind, sizes in sorted(by_type.items()))
    context = min(info.context_length, 8192)
    heads = f"{info.n_head} heads of {info.head_dim}, {info.n_head_kv} of keys and values"
    feed_forward = f"feed-forward {info.n_ff}"
    if info.n_expert:
        feed_forward = f"{info.n_expert} experts of {info.n_ff}, {info.n_expert_used} for each token"
    rows: list[tuple[str, object]] = [
        ("file", info.path),
        ("name", common.printable(info.name) or "-"),
        ("architecture", info.architecture),
        ("parameters", f"{common.count(info.n_parameters)}, {info.quantization}"),
        ("size", f"{common.size(info.file_bytes)}, GGUF version {info.gguf_version}"),
        ("layers", f"{info.n_layer}, width {info.n_embd}, {feed_forward}"),
        ("attention", heads + (f", window {info.sliding_window}" if info.sliding_window else "")),
        ("context", f"{info.context_length} positions"),
        ("tokenizer", f"{info.tokenizer}, {common.printable(info.pre_tokenizer) or '-'}, {info.n_vocab} tokens"),
        ("chat template", f"{len(info.chat_template)} characters" if info.chat_template else "none"),
        ("tensors", f"{len(tensors)}: {types}"),
    ]  # fmt: skip
    cache = f"{common.size(info.cache_bytes(context))} for a cache of {context} positions (f16)"
    if needs := model.needs():
        weights, read = map(common.size, needs)
        chosen = f", {info.n_expert_used} of {info.n_expert} experts" if info.n_expert else ""
        position = common.size(info.cache_bytes(16) // 16)
        state = f", {common.size(info.state_memory)} for the states of a session" if info.state_memory else ""
        advanced = f", {common.size(info.state_bytes)} of state" if info.state_bytes else ""
        rows.append(("memory", f"{weights} for weights, {cache}{state}"))
        reads = f"reads {read} of weights{chosen}{advanced}, and {position} of cache for each position before it"
        rows.append(("each token", reads))
    unread = [key for key in model.keys_not_read() if not key.startswith("general.")]  # those describe the model
    if unread:
        rows.append(("keys not read", common.printable(", ".join(unread))))
    if described["problem"]:
        rows.append(("cannot be run", common.printable(str(described["problem"]))))
    if args.fingerprint:
        rows.append(("fingerprint", described["fingerprint"]))
    common.write_table(rows)
    if args.metadata:
        common.write("\n")
        common.write_table([(key, common.printable(repr(value))[:100]) for key, value in model.metadata().items()])
    if args.tensors:
        common.write("\n")
        common.write_table(
            [(common.printable(n), t, " x ".join(map(str, s)), common.size(b)) for n, t, s, b in tensors], right=[3]
        )
