"""Measure the exported GGUF file itself, on held-out material: loss and share of valid answers per family.

The weights are read back from the file and dequantized, so the figures describe the file, not the checkpoint.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import gguf
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import stories
import tasks
import torch
from compose import DRAW, END, TURN_END, casual, draw, render_chat
from export import gguf_name
from model import DemoModel, ModelConfig, Past
from tasks import Case
from tokenizers import Tokenizer
from train import load_documents, weighted_loss

MAX_NEW_TOKENS = 350
NAMES = frozenset(stories.GIRLS + stories.BOYS)


@dataclass(frozen=True)
class Sampling:
    """Temperature 0 means the likeliest token."""

    temperature: float
    seed: int


def load_gguf(path: Path) -> DemoModel:
    """The model in the file, dequantized to F32."""
    reader = gguf.GGUFReader(path)

    def number(key: str) -> Any:
        field = reader.get_field(f"llama.{key}")
        assert field is not None, key
        return field.contents()

    config = ModelConfig(
        n_vocab=number("vocab_size"), n_ctx=number("context_length"), n_embd=number("embedding_length"),
        n_ff=number("feed_forward_length"), n_layer=number("block_count"), n_head=number("attention.head_count"),
        n_kv_head=number("attention.head_count_kv"), rope_base=number("rope.freq_base"),
        norm_eps=number("attention.layer_norm_rms_epsilon"),
    )  # fmt: skip
    stored = {t.name: torch.tensor(gguf.quants.dequantize(t.data, t.tensor_type)) for t in reader.tensors}
    model = DemoModel(config)
    model.load_state_dict({name: stored[gguf_name(name)] for name in model.state_dict()})
    model.eval()
    return model


@torch.no_grad()
def generate(model: DemoModel, tokenizer: Tokenizer, prompts: list[str], sampling: Sampling) -> list[str]:
    """Continue each prompt; the end token is kept in the text, so that a checker can see whether the answer ended.

    Rows advance together, one position a step: a row still inside its prompt is fed its next prompt token.
    """
    random_source = torch.Generator().manual_seed(sampling.seed)
    ends = [tokenizer.token_to_id(END), tokenizer.token_to_id(TURN_END)]
    rows = [e.ids for e in tokenizer.encode_batch(prompts)]
    starts = [len(row) for row in rows]
    limits = [min(start + MAX_NEW_TOKENS, model.config.n_ctx) for start in starts]
    pasts = [Past(model.config, len(rows)) for _ in model.blocks]
    for position in range(max(limits) - 1):
        logits = model.step(torch.tensor([row[min(position, len(row) - 1)] for row in rows]), pasts)
        if sampling.temperature == 0:
            picked = logits.argmax(-1)
        else:
            probability = torch.softmax(logits / sampling.temperature, -1)
            picked = torch.multinomial(probability, 1, generator=random_source)[:, 0]
        done = True
        for row, start, limit, token in zip(rows, starts, limits, picked.tolist(), strict=True):
            if len(row) < limit and not (len(row) > start and row[-1] in ends):
                done = False
                if position == len(row) - 1:
                    row.append(token)
        if done:
            break
    return [tokenizer.decode(row[start:], skip_special_tokens=False) for row, start in zip(rows, starts, strict=True)]


# ------------------------------------------------------------------ what is valid


def ended(text: str, end: str) -> str | None:
    """The answer without its end token, or nothing if it never ended."""
    return text.removesuffix(end) if text.endswith(end) else None


def valid_exact(case: Case, text: str) -> bool:
    """Arithmetic, state, about: the answer is the one right sentence."""
    return ended(text, TURN_END) == case.answer


def valid_note(case: Case, text: str) -> bool:
    """Exactly two sentences that name component, version, the new subject, the fault and where it occurred."""
    answer = ended(text, TURN_END)
    if answer is None:
        return False
    sentences = re.split(r"(?<=[.!?])\s+", answer)
    wanted = [case.facts[name] for name in ("component", "version", "what", "fault", "y")]
    return len(sentences) == 2 and all(s.endswith(".") for s in sentences) and all(w in answer for w in wanted)


def valid_risk(case: Case, text: str) -> bool:
    """Parses; has exactly the six fields, allowed values, what the prompt gave, and names the risk and the system."""
    answer = ended(text, TURN_END)
    try:
        card = json.loads(answer or "")
    except json.JSONDecodeError:
        return False
    wanted = {"title": f"{case.facts['risk'].capitalize()}: {case.facts['system']}"} | case.facts["given"]
    return (
        isinstance(card, dict)
        and list(card) == ["id", "title", "severity", "likelihood", "mitigation", "owner"]
        and all(isinstance(value, str) for value in card.values())
        and re.fullmatch(r"R-\d{3}", card["id"]) is not None
        and {card["severity"], card["likelihood"]} <= set(tasks.LEVELS)
        and card["owner"] in tasks.OWNERS
        and re.fullmatch(r"[A-Z][a-z ]+\.", card["mitigation"]) is not None
        and all(card[name] == value for name, value in wanted.items())
    )


def known_words() -> frozenset[str]:
    """Every word the composer can write in a story, to catch invented ones."""
    rng = random.Random(7)
    return frozenset(
        word for _ in range(6000) for word in re.findall(r"[A-Za-z]+", stories.tell(stories.draw_hero(rng), rng))
    )


def story_faults(text: str | None, words: frozenset[str], needed: Iterable[str]) -> list[str]:
    """Why a story is not valid; empty when it is."""
    if text is None:
        return ["never ends"]
    found = re.findall(r"[A-Za-z]+", text)
    grams = list(zip(*(found[i:] for i in range(4)), strict=False))
    sentences = [s for s in re.split(r"(?<=[.!?])\"?\s+", text) if len(s.split()) > 3]
    checks = {
        "last sentence open": not text.rstrip('"').endswith((".", "!", "?")),
        "length outside 60 to 260 words": not 60 <= len(found) <= 260,
        "a sentence occurs twice": len(set(sentences)) < len(sentences),
        "under 85 % of 4-grams distinct": len(set(grams)) < 0.85 * len(grams),
        "invented word": not set(found) <= words,
        "more than two names": len(set(found) & NAMES) > 2,
        "quotation marks unpaired": text.count('"') % 2 == 1,
        "what was asked for is missing": any(word not in found for word in needed),
    }
    return [fault for fault, present in checks.items() if present]


# ------------------------------------------------------------------ measuring


def draw_cases(family: str, count: int, seed: int) -> list[Case]:
    """Held-out cases, each asked on its own."""
    rng = random.Random(seed)
    return [casual(draw(family, rng, held_out=True)[0], rng) for _ in range(count)]


def prompt_of(case: Case) -> str:
    """The chat up to where the assistant answers."""
    return "".join(text for text, _ in render_chat([case])[:-2])


def share(passed: int, count: int) -> dict[str, Any]:
    """A share with its 95 % Wilson interval, since samples are few."""
    z, p = 1.96, passed / count
    center, spread = p + z * z / (2 * count), z * (p * (1 - p) / count + z * z / (4 * count * count)) ** 0.5
    low, high = ((center + sign * spread) / (1 + z * z / count) for sign in (-1, 1))
    return {"valid": passed, "of": count, "share": round(p, 4), "interval95": [round(low, 4), round(high, 4)]}


def measure_family(
    model: DemoModel,
    tokenizer: Tokenizer,
    cases: list[Case],
    valid: Callable[[Case, str], bool],
    group: Callable[[Case], str],
    samplings: list[Sampling],
) -> dict[str, Any]:
    """Share of valid answers per temperature, with its parts and the first failures."""
    result: dict[str, Any] = {}
    for sampling in samplings:
        answers = generate(model, tokenizer, [prompt_of(case) for case in cases], sampling)
        verdicts = [valid(case, answer) for case, answer in zip(cases, answers, strict=True)]
        groups: dict[str, list[bool]] = {}
        for case, verdict in zip(cases, verdicts, strict=True):
            groups.setdefault(group(case), []).append(verdict)
        failures = [
            {"prompt": c.prompt, "system": c.system, "answer": a, "one_right_answer": c.answer}
            for c, a, ok in zip(cases, answers, verdicts, strict=True) if not ok
        ]  # fmt: skip
        result[f"temperature {sampling.temperature}"] = share(sum(verdicts), len(verdicts)) | {
            "parts": {name: f"{sum(oks)}/{len(oks)}" for name, oks in sorted(groups.items())},
            "first_failures": failures[:5],
        }
    return result


def measure_stories(
    model: DemoModel, tokenizer: Tokenizer, count: int, sampling: Sampling
) -> tuple[dict[str, Any], list[str]]:
    """Half begin from `Once upon a time`, half are asked for with a held-out pair of hero and thing."""
    words = known_words()
    cases = draw_cases("story", count // 2, 11)
    asked = generate(model, tokenizer, [prompt_of(case) for case in cases], sampling)
    plain = generate(model, tokenizer, ["Once upon a time"] * (count // 2), sampling)
    results = {}
    for name, texts, needs in (
        ("asked", [ended(t, TURN_END) for t in asked], [(c.facts["kind"], c.facts["thing"]) for c in cases]),
        ("plain", [None if (e := ended(t, END)) is None else "Once upon a time" + e for t in plain], [()] * len(plain)),
    ):
        faults = [story_faults(text, words, need) for text, need in zip(texts, needs, strict=True)]
        results[name] = share(sum(not f for f in faults), len(faults)) | {
            "faults": dict(Counter(fault for found in faults for fault in found).most_common()),
            "mean_words": round(statistics.mean(len((t or "").split()) for t in texts), 1),
            "distinct": len(set(texts)),
        }
    samples = [f"[{case.prompt}]\n{text}" for case, text in zip(cases, asked[:4], strict=False)]
    return results, samples + ["Once upon a time" + text for text in plain[:6]]


@torch.no_grad()
def measure_loss(model: DemoModel, tokenizer: Tokenizer, corpus: Path, count: int) -> dict[str, float]:
    """Nats per answer token, by family, each held-out document alone."""
    losses: dict[str, list[float]] = {}
    sizes: dict[str, list[float]] = {}
    for family, (ids, weights) in islice(load_documents(corpus, tokenizer), count):
        row = torch.tensor([ids[: model.config.n_ctx]])
        answer = (torch.tensor([weights[: model.config.n_ctx]])[:, 1:] == 1.0).float()
        size = answer.sum().item()
        for name in (family, "all"):
            losses.setdefault(name, []).append(weighted_loss(model(row[:, :-1]), row[:, 1:], answer).item() * size)
            sizes.setdefault(name, []).append(size)
    return {name: round(sum(losses[name]) / sum(sizes[name]), 4) for name in sorted(losses)}


def plot_loss(log: Path, out: Path) -> None:
    """The loss curve as a picture."""
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    held = [row for row in rows if row["heldout_loss"]]
    figure, axis = plt.subplots(figsize=(8, 4.5))
    millions = [int(row["tokens"]) / 1e6 for row in rows]
    axis.plot(millions, [float(row["train_loss"]) for row in rows], linewidth=0.6, label="training (prompts weigh 0.1)")
    held_millions = [int(row["tokens"]) / 1e6 for row in held]
    axis.plot(
        held_millions, [float(row["heldout_loss"]) for row in held], "o-", markersize=3, label="held out (answers)"
    )
    axis.set(xlabel="million training tokens", ylabel="nats per token", yscale="log", title="Flyball Demo")
    axis.grid(alpha=0.3, which="both")
    axis.legend()
    figure.tight_layout()
    figure.savefig(out, dpi=110)


def write_samples(model: DemoModel, tokenizer: Tokenizer, story_samples: list[str], out: Path) -> None:
    """A few unselected samples of each family at temperature 0.7."""
    blocks = [f"=== story\n{text}" for text in story_samples]
    for family in ("arithmetic", "notes", "risk", "state", "about"):
        cases = draw_cases(family, 4, 21)
        answers = generate(model, tokenizer, [prompt_of(c) for c in cases], Sampling(0.7, 21))
        for case, answer in zip(cases, answers, strict=True):
            system = f"[system: {case.system}]\n" if case.system else ""
            blocks.append(f"=== {family}\n{system}[{case.prompt}]\n{answer}")
    out.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")


def main() -> None:
    """Measure, and write `eval.json`, `samples.txt`, `loss.csv` and `loss.png`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("gguf", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--count", type=int, default=200, help="cases per family")
    args = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = Tokenizer.from_file(str(args.work / "tokenizer.json"))
    model = load_gguf(args.gguf)
    samplings = [Sampling(0.0, 1), Sampling(0.7, 1)]
    checks: dict[str, tuple[Callable[[Case, str], bool], Callable[[Case], str]]] = {
        "arithmetic": (valid_exact, lambda c: str(c.key[0])),
        "notes": (valid_note, lambda c: "all"),
        "risk": (valid_risk, lambda c: f"{len(c.facts['given'])} given"),
        "state": (valid_exact, lambda c: str(c.facts["ask"])),
        "about": (valid_exact, lambda c: "known by heart, not held out"),
    }
    assert set(checks) < set(DRAW)
    report: dict[str, Any] = {"version": 1, "file": args.gguf.name, "bytes": args.gguf.stat().st_size}
    report["heldout_loss"] = measure_loss(model, tokenizer, args.work / "heldout.jsonl", 700)
    print(report["heldout_loss"], flush=True)
    report["valid"] = {}
    for family, (valid, group) in checks.items():
        cases = draw_cases(family, args.count, 5)
        report["valid"][family] = measure_family(model, tokenizer, cases, valid, group, samplings)
        print(family, {k: v["share"] for k, v in report["valid"][family].items()}, flush=True)
    report["valid"]["stories"], samples = measure_stories(model, tokenizer, args.count // 2, Sampling(0.7, 3))
    print("stories", {k: v["share"] for k, v in report["valid"]["stories"].items()}, flush=True)
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "eval.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (args.results / "loss.csv").write_bytes((args.work / "loss.csv").read_bytes())
    plot_loss(args.work / "loss.csv", args.results / "loss.png")
    write_samples(model, tokenizer, samples, args.results / "samples.txt")


if __name__ == "__main__":
    main()
