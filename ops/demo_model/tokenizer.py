"""Train the byte-level BPE vocabulary with the pre-tokenizer that GGUF calls `qwen2`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# Splits every digit, so that a sum is learned by column. Must be the regex of `qwen2`, or ids differ at run time.
QWEN2_REGEX = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def new_tokenizer() -> Tokenizer:
    """An untrained byte-level BPE; NFC as Qwen2 does."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(QWEN2_REGEX), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def texts(corpus: Path, limit: int) -> Iterator[str]:
    """The parts of the first documents, without special tokens, which are no text to merge."""
    with corpus.open(encoding="utf-8") as lines:
        for line in islice(lines, limit):
            for text, _ in json.loads(line)["parts"]:
                for special in SPECIAL:
                    text = text.replace(special, "\n")
                yield text


def main() -> None:
    """Train on the head of the training corpus and save `tokenizer.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--vocab", type=int, default=2048)
    args = parser.parse_args()
    tokenizer = new_tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=args.vocab, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(texts(args.work / "train.jsonl", 30_000), trainer)
    tokenizer.save(str(args.work / "tokenizer.json"))
    print(f"{tokenizer.get_vocab_size()} tokens")


if __name__ == "__main__":
    main()
