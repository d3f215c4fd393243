"""An adapter's file, laid out as llama.cpp's converter does, and its folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import gguf

from .. import files
from ..engine.adapter import describe_adapter
from ..errors import FileError, InternalError
from ..learn.folders import MANIFEST
from .lora import Lora


def write_adapter(path: Path, lora: Lora, architecture: str, name: str) -> str:
    """Write the file in float32 and give its digest, the fingerprint that Flyball computes of it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = gguf.GGUFWriter(path, architecture)
        writer.add_type("adapter")
        writer.add_name(name)
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", lora.alpha)
        for tensor_name, tensor in lora.tensors():
            writer.add_tensor(tensor_name, tensor.detach().numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        with path.open("rb") as written:
            os.fsync(written.fileno())
    except OSError as error:
        raise FileError(str(path), f"cannot be written: {error.strerror or error}") from None
    described = describe_adapter(path)
    if described is None:
        raise InternalError(str(path), "was written and is no adapter")
    return described.fingerprint


def publish(new: Path, folder: Path, more: Mapping[str, str]) -> tuple[Path, bool]:
    """Move a folder to its place, with more files in it. False: one is there already, and stays."""
    for name, text in more.items():
        files.write(new / name, text)
    try:
        os.rename(new, folder)
    except OSError as error:
        if not (folder / MANIFEST).is_file():
            raise FileError(str(folder), f"cannot be made: {error.strerror or error}") from None
        shutil.rmtree(new)  # the place is named by the adapter's digest, so it has the same bytes
        return folder, False
    return folder, True
