"""Train the demonstration model on one core within a time budget.

The learning rate follows the clock, not the step, because other work may take the core at any time: a disturbed run
then ends with fewer steps, but still cooled down. Each step's rate is in loss.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from model import DemoModel, ModelConfig
from tokenizers import Tokenizer
from torch import Tensor

PROMPT_WEIGHT = 0.1  # prompts are mostly random facts: worth reading, hardly worth predicting
Document = tuple[list[int], list[float]]


def load_documents(corpus: Path, tokenizer: Tokenizer) -> Iterator[tuple[str, Document]]:
    """Family, token ids and loss weights of every document."""
    with corpus.open(encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            ids: list[int] = []
            weights: list[float] = []
            encodings = tokenizer.encode_batch([text for text, _ in record["parts"]])
            for encoding, (_, learn) in zip(encodings, record["parts"], strict=True):
                ids += encoding.ids
                weights += [1.0 if learn else PROMPT_WEIGHT] * len(encoding.ids)
            yield record["family"], (ids, weights)


def pack(documents: Iterator[Document], n_ctx: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows (row, n_ctx + 1) that begin with a document, as a prompt does; what overflows the row is dropped."""
    rows: list[list[int]] = []
    row_weights: list[list[float]] = []
    row: list[int] = []
    weight: list[float] = []
    for ids, weights in documents:
        row, weight = row + ids, weight + weights
        if len(row) > n_ctx:
            rows.append(row[: n_ctx + 1])
            row_weights.append(weight[: n_ctx + 1])
            row, weight = [], []
    return np.array(rows, dtype=np.int16), np.array(row_weights, dtype=np.float32)


def weighted_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Mean cross-entropy in nats per unit of weight."""
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return (losses * weights.flatten()).sum() / weights.sum()


def schedule(progress: float) -> float:
    """Warm up for 2 %, hold, then cool down linearly over the last 45 %."""
    return min(progress / 0.02, 1.0, max(1.0 - progress, 0.0) / 0.45) * 0.98 + 0.02


def batches(rows: np.ndarray, weights: np.ndarray, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled batches without end."""
    order = np.random.default_rng(seed)
    while True:
        shuffled = order.permutation(len(rows))
        for start in range(0, len(rows) - size + 1, size):
            pick = shuffled[start : start + size]
            yield torch.from_numpy(rows[pick].astype(np.int64)), torch.from_numpy(weights[pick])


@torch.no_grad()
def held_out_loss(forward: Callable[[Tensor], Tensor], rows: np.ndarray, weights: np.ndarray, size: int) -> float:
    """Loss over answers only, on the same held-out rows each time."""
    losses: list[float] = []
    for start in range(0, len(rows) - size + 1, size):
        ids = torch.from_numpy(rows[start : start + size].astype(np.int64))
        answer = torch.from_numpy((weights[start : start + size, 1:] == 1.0).astype(np.float32))
        losses.append(weighted_loss(forward(ids[:, :-1]), ids[:, 1:], answer).item())
    return sum(losses) / len(losses)


def optimizers(model: DemoModel, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for matrices, AdamW for the embedding and norms; Muon's updates are scaled to AdamW's size."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and not n.startswith("embed")]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or n.startswith("embed")]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.97), weight_decay=0.0),
    ]


def save(model: DemoModel, path: Path, step: int, tokens: int) -> None:
    """Write a checkpoint so that a kill never leaves half a file."""
    partial = path.with_suffix(".partial")
    state = {"config": asdict(model.config), "weights": model.state_dict(), "step": step, "tokens": tokens}
    torch.save(state, partial)
    partial.rename(path)


def resume(model: DemoModel, work: Path) -> tuple[list[list[str]], int, int, float]:
    """Load the checkpoint and the log up to it: rows, step, tokens, seconds. The optimizers start without momentum."""
    checkpoint = torch.load(work / "checkpoint.pt", weights_only=True)
    model.load_state_dict(checkpoint["weights"])
    with (work / "loss.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1 : checkpoint["step"] + 1]
    return rows, checkpoint["step"], checkpoint["tokens"], float(rows[-1][1])


def train(args: argparse.Namespace) -> None:
    """Run until the budget is spent."""
    torch.manual_seed(args.seed)
    random.seed(args.seed)
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")
    tokenizer = Tokenizer.from_file(str(args.work / "tokenizer.json"))
    config = ModelConfig(n_vocab=tokenizer.get_vocab_size(), n_layer=args.layers)
    rows, weights = pack((d for _, d in load_documents(args.work / "train.jsonl", tokenizer)), config.n_ctx)
    held_rows, held_weights = pack((d for _, d in load_documents(args.work / "heldout.jsonl", tokenizer)), config.n_ctx)
    held_rows, held_weights = held_rows[: 8 * args.batch], held_weights[: 8 * args.batch]
    model = DemoModel(config)
    past, first, tokens, spent = resume(model, args.work) if args.resume else ([], 0, 0, 0.0)
    forward = torch.compile(model, dynamic=False)
    tuned = optimizers(model, args.rate)
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {rows.size} training tokens", flush=True)
    with (args.work / "loss.csv").open("w", newline="") as file:
        log = csv.writer(file, lineterminator="\n")
        log.writerows([["step", "seconds", "tokens", "rate", "train_loss", "heldout_loss"], *past])
        start, last_save = time.monotonic() - spent, spent
        for step, (ids, weight) in enumerate(batches(rows, weights, args.batch, args.seed + first), first + 1):
            progress = (time.monotonic() - start) / (args.minutes * 60)
            factor = schedule(progress)
            for optimizer in tuned:
                for group in optimizer.param_groups:
                    group["lr"] = args.rate * factor
            loss = weighted_loss(forward(ids[:, :-1]), ids[:, 1:], weight[:, 1:])
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in tuned:
                optimizer.step()
                optimizer.zero_grad()
            seconds, tokens = time.monotonic() - start, tokens + args.batch * config.n_ctx
            over = progress >= 1.0
            check = over or step % 200 == 0
            held = f"{held_out_loss(forward, held_rows, held_weights, args.batch):.4f}" if check else ""
            log.writerow([step, f"{seconds:.1f}", tokens, f"{args.rate * factor:.6f}", f"{loss.item():.4f}", held])
            file.flush()
            if step % 10 == 0 or over:
                print(f"{step} {seconds:.0f}s {tokens} tokens loss {loss.item():.3f} {held}", flush=True)
            if over or seconds - last_save > 180:
                save(model, args.work / "checkpoint.pt", step, tokens)
                last_save = seconds
            if over or not math.isfinite(loss.item()):
                return


def main() -> None:
    """Read the settings and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--minutes", type=float, default=70)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--batch", type=int, default=8, help="rows of n_ctx tokens")
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=1788)
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint, perhaps with other settings")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
