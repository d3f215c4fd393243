"""llama.cpp's side of a comparison, through llama-cpp-python's low-level interface, every setting spelled out."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

INSTALL = (
    "llama-cpp-python is needed for llama.cpp's side:\n"
    '  CC=clang CXX=clang++ CMAKE_ARGS="-DGGML_NATIVE=ON -DGGML_OPENMP=OFF" '
    "pip install --no-binary llama-cpp-python llama-cpp-python==0.3.36"
)
_F32, _F16 = 0, 1


@dataclass(frozen=True)
class Settings:
    """llama.cpp's defaults for what changes its rounding; `EXACT` is as near to float32 as it gets."""

    n_ctx: int = 512
    n_batch: int = 512
    n_threads: int = 1
    kv_type: str = "f16"
    flash_attention: str = "auto"  # llama.cpp's own default; on the CPU "auto" resolves to on


EXACT = Settings(kv_type="f32", flash_attention="off")


_silent = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda level, text, data: None)


def version() -> str:
    import llama_cpp

    return f"llama-cpp-python {llama_cpp.__version__}"


def tokenize(path: Path | str, text: str) -> list[int]:
    """Token ids of a text as llama.cpp's tokenizer has them, special tokens recognised."""
    import llama_cpp as lc

    raw = text.encode()
    ids = (ctypes.c_int32 * (len(raw) + 2))()
    with ExitStack() as stack:
        model = _load(stack, path, vocab_only=True)
        count = lc.llama_tokenize(lc.llama_model_get_vocab(model), raw, len(raw), ids, len(ids), True, True)
    if count < 0:
        raise RuntimeError(f"llama_tokenize failed with {path}: {count}")
    return ids[:count]


def _load(stack: ExitStack, path: Path | str, *, vocab_only: bool = False) -> Any:
    import llama_cpp as lc

    params = lc.llama_model_default_params()
    params.n_gpu_layers = 0
    params.vocab_only = vocab_only
    lc.llama_backend_init()
    lc.llama_log_set(_silent, None)
    model = lc.llama_model_load_from_file(str(path).encode(), params)
    if not model:
        raise RuntimeError(f"llama.cpp does not load {path}")
    stack.callback(lc.llama_model_free, model)
    return model


def logits(
    path: Path | str,
    ids: Sequence[int],
    settings: Settings = Settings(),
    adapter: Path | None = None,
    adapter_scale: float = 1.0,
) -> npt.NDArray[np.float32]:
    """Every position's logits, (len(ids), n_vocab), teacher forced in one context."""
    import llama_cpp as lc

    with ExitStack() as stack:
        model = _load(stack, path)
        params = lc.llama_context_default_params()
        params.n_ctx = settings.n_ctx
        params.n_batch = params.n_ubatch = settings.n_batch
        params.n_threads = params.n_threads_batch = settings.n_threads
        params.type_k = params.type_v = {"f32": _F32, "f16": _F16}[settings.kv_type]
        params.flash_attn_type = {"auto": -1, "off": 0, "on": 1}[settings.flash_attention]
        context = lc.llama_init_from_model(model, params)
        if not context:
            raise RuntimeError(f"llama.cpp makes no context for {path}")
        stack.callback(lc.llama_free, context)
        if adapter is not None:
            lora = lc.llama_adapter_lora_init(model, str(adapter).encode())  # freed with the model
            if not lora:
                raise RuntimeError(f"llama.cpp does not load {adapter}")
            adapters, scales = (lc.llama_adapter_lora_p_ctypes * 1)(lora), (ctypes.c_float * 1)(adapter_scale)
            if lc.llama_set_adapters_lora(context, adapters, 1, scales):
                raise RuntimeError(f"llama.cpp does not apply {adapter}")
        batch = lc.llama_batch_init(settings.n_batch, 0, 1)
        stack.callback(lc.llama_batch_free, batch)
        n_vocab = lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(model))
        out = np.empty((len(ids), n_vocab), np.float32)
        for start in range(0, len(ids), settings.n_batch):
            part = ids[start : start + settings.n_batch]
            batch.n_tokens = len(part)
            for i, token in enumerate(part):
                batch.token[i] = token
                batch.pos[i] = start + i
                batch.n_seq_id[i] = 1
                batch.seq_id[i][0] = 0
                batch.logits[i] = 1
            if lc.llama_decode(context, batch):
                raise RuntimeError(f"llama_decode failed on {path} at position {start}")
            raw = lc.llama_get_logits(context)
            out[start : start + len(part)] = np.ctypeslib.as_array(raw, (len(part), n_vocab))
    return out
