"""Writes tests/golden/tokenizer.json: token ids that llama.cpp gives with begin tokens and parsed special tokens.

    python -m tests.golden.record_tokenizer      # needs llama-cpp-python 0.3.36 importable

The vocabularies' own expectations (.inp and .out) have neither. What Flyball does differently on purpose is left out:
qwen2's "</s>" is text to its tokenizer.json and to Flyball, a control token to llama.cpp (docs/tokenizers.md).
"""

from __future__ import annotations

import ctypes
import json
from pathlib import Path

import llama_cpp

from tests.python.engine import vocabularies

TARGET = Path(__file__).with_name("tokenizer.json")
TEXTS = [
    "Hello, world! 123 456789",
    " leading and trailing  ",
    "<s>[INST] hi [/INST]<|im_start|>user\nname<|im_end|>\n",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>",
    "<|user|>\n Hello<|end|>\n<|assistant|> \t\nYes <|endoftext|> x",
    "<unk><|endoftext|><fim_prefix>def f():<fim_suffix>  return<fim_middle>",
    "<｜begin▁of▁sentence｜>问题<｜fim▁begin｜><｜end▁of▁sentence｜>",
    "a  b   c    d\t\te\n\n\nf\r\n",
    "naïve Ωмега 中文 हिन्दी 😀👍🏽 \u00a0\u2003",
    "<BOS_TOKEN><|START_OF_TURN_TOKEN|><|USER_TOKEN|>hi<|END_OF_TURN_TOKEN|>",
]


MODES = [(True, False), (False, True), (True, True)]  # add_special, parse_special


def record(name: str) -> list[list[int]]:
    """Ids of each text in each mode, text by text."""
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(vocabularies.path(name)).encode(), parameters)
    vocabulary = llama_cpp.llama_model_get_vocab(model)
    rows = []
    for text in TEXTS:
        raw = text.encode()
        buffer = (ctypes.c_int32 * (4 * len(raw) + 16))()
        for add_special, parse_special in MODES:
            n = llama_cpp.llama_tokenize(vocabulary, raw, len(raw), buffer, len(buffer), add_special, parse_special)
            if n < 0:
                raise RuntimeError(f"{name}: llama_tokenize gives {n}")
            rows.append(list(buffer[:n]))
    llama_cpp.llama_model_free(model)
    return rows


def main() -> None:
    ids = ",\n".join(f'"{name}": {json.dumps(record(name))}' for name in vocabularies.NAMES)
    head = f'"texts": {json.dumps(TEXTS)},\n"modes": {json.dumps(MODES)},\n"ids": {{\n'
    TARGET.write_text("{\n" + head + ids + "\n}\n}\n", encoding="ascii")


if __name__ == "__main__":
    main()
