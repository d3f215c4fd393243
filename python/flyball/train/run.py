"""A training run: from examples to the folder of an adapter. A stopped one goes on to the same bytes."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import pickle
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .. import _core, files
from ..engine.model import Model
from ..errors import FormatError, InvalidArgument, NotFound
from ..learn import folders
from . import curve, examples, parity
from .architecture import describe
from .decoder import Decoder
from .examples import Example
from .export import publish, write_adapter
from .lora import Lora
from .recipe import Recipe
from .replay import replay
from .rows import Encoder, Row
from .trainer import Trainer
from .weights import Weights

Progress = Callable[[str, int, int], object]
_SAVE_SECONDS = 60.0
_SHORT_REPLAY = 128  # tokens; replayed answers may be twice as long as the examples, and at least so long
_MOST_CHECKPOINT_BYTES = 16 << 30
_MOST_LAYERS = 4096  # elements of an array in the metadata that are read


@dataclass(frozen=True)
class Trained:
    """An adapter's folder; `new`: it was not there before, with the same bytes."""

    folder: Path
    manifest: dict[str, Any]
    new: bool


class Run:
    """One run, prepared: examples encoded, base answers made, the forward pass compared with the served one.

    out         folder of adapters, where the run keeps its checkpoint, too
    parent      folder of an adapter of the same model, rank and alpha, to begin with
    low_memory  matrices stay in the file and activations are computed again; None: where the model asks for it. The
                adapter's bytes are the same
    """

    def __init__(
        self,
        model: Model,
        data: Sequence[Example],
        held_out: Sequence[Example],
        recipe: Recipe,
        out: Path,
        *,
        parent: Path | None = None,
        threads: int = 1,
        low_memory: bool | None = None,
        progress: Progress = lambda phase, done, total: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True)
        examples.check_apart(data, held_out)
        self.recipe = recipe
        self._model = model
        self._out = out
        self._clock = clock
        encoder = Encoder(model, min(recipe.longest, model.info.context_length))
        encoded = encoder.rows(data)
        self.rows = [row for row in encoded if recipe.method == "kto" or row.answer is not None]
        self.held_out = encoder.rows(held_out)
        _check_rows(self.rows, recipe)
        self.unused = [row.id for row in encoded if row not in self.rows]
        began = None if parent is None else folders.opened(parent)
        self._about = self._describe(data, threads, began)
        known = {row.prompt for row in (*encoded, *self.held_out)}
        longest = min(encoder.longest, max(_SHORT_REPLAY, *(2 * row.n_tokens for row in self.rows)))
        self.rows += replay(model, recipe.replay, longest, recipe.seed, known, progress)
        self._decoder, self.low_memory = self._make_decoder(low_memory)
        first = self.rows[0]
        self._probe = [*first.prompt, *(first.answer or first.rejected or ())][: parity.MOST_TOKENS]
        self._divergence = parity.check_base(model, self._decoder, self._probe)
        self._lora = Lora(self._decoder.weights, recipe.rank, recipe.alpha, recipe.seed)
        if parent is not None and began is not None:
            self._take(parent, began)
        self.trainer = Trainer(self._decoder, self._lora, recipe, self.rows)
        self._held_out_first = self.trainer.loss_of(self.held_out)

    def resume(self) -> int:
        """Go on from the checkpoint of the same run; the steps that are done. Raises NotFound or FormatError."""
        path = self._work / "checkpoint.pt"
        try:
            raw = files.read(path, _MOST_CHECKPOINT_BYTES)
        except NotFound:
            what = "does not exist: no run with the same model, data, recipe, threads and versions was stopped here"
            raise NotFound(str(path), what) from None
        try:
            self.trainer.restore(torch.load(io.BytesIO(raw), weights_only=True))
        except (RuntimeError, KeyError, EOFError, ValueError, pickle.UnpicklingError) as error:
            what = f"is damaged ({type(error).__name__}); train anew, without --resume"
            raise FormatError(str(path), what) from None
        return len(self.trainer.losses)

    def train(self, on_step: Callable[[int, float], object], stopped: Callable[[], bool]) -> bool:
        """Take the steps that are left, saving a checkpoint each minute and at a stop. Whether all are done."""
        saved = self._clock()
        while not self.trainer.done:
            if stopped():
                self._save()
                return False
            loss = self.trainer.step()
            on_step(len(self.trainer.losses), loss)
            if self._clock() - saved >= _SAVE_SECONDS:
                self._save()
                saved = self._clock()
        return True

    def finish(self) -> Trained:
        """Write the adapter, load it, compare what it does with what was trained, and publish its folder."""
        new = self._work / "new"
        shutil.rmtree(new, ignore_errors=True)
        info = self._model.info
        name = f"{info.name or Path(info.path).stem}, {self.recipe.method}"
        digest = write_adapter(new / folders.FILE, self._lora, info.architecture, name)
        adapter = self._model.load_adapter(new / folders.FILE)
        apart = parity.check_adapter(self._model, self._decoder, self._lora, adapter, self._probe)
        losses = self.trainer.losses
        manifest = {
            "schema": folders.SCHEMA,
            "digest": digest,
            **self._about,
            "created": time.time_ns() // 1_000_000,
            "losses": {"first": losses[0], "last": losses[-1], **self._held_out_losses()},
            "parity": {"divergence": self._divergence, "adapter": apart},
        }
        pages = {
            folders.MANIFEST: json.dumps(manifest, indent=2, ensure_ascii=False) + "\n",
            "loss.svg": curve.svg(losses, f"Loss of adapter {digest[:16]}, {self.recipe.method}"),
        }
        folder, is_new = publish(new, self._out / digest, pages)
        shutil.rmtree(self._work, ignore_errors=True)
        return Trained(folder, manifest, is_new)

    def _held_out_losses(self) -> dict[str, float | None]:
        return {"held_out_first": self._held_out_first, "held_out_last": self.trainer.loss_of(self.held_out)}

    def _take(self, parent: Path, began: folders.Manifest) -> None:
        """Begin with the parent's matrices. Raises InvalidArgument for an adapter that does not fit."""
        adapter = folders.load(self._model, parent, began.digest)
        if adapter.alpha != self.recipe.alpha:
            what = f"has alpha {adapter.alpha:g}, the recipe {self.recipe.alpha:g}; give its alpha"
            raise InvalidArgument(str(parent), what)
        self._lora.take(adapter.path)

    def _describe(self, data: Sequence[Example], threads: int, began: folders.Manifest | None) -> dict[str, Any]:
        """What the adapter's bytes follow from, as the manifest has it."""
        info = self._model.info
        rows = {"rows": [row.id for row in self.rows], "held_out": [row.id for row in self.held_out]}
        packages = ("torch", "gguf", "numpy")
        return {
            "base": {"name": info.name or Path(info.path).stem, "fingerprint": self._model.fingerprint()},
            "method": self.recipe.method,
            "recipe": self.recipe.as_dict(),
            "data": {"digest": examples.digest(data), **rows},
            "parent": None if began is None else began.digest,
            "versions": {"flyball": _core.version, **{name: importlib.metadata.version(name) for name in packages}},
            "threads": threads,
        }

    @property
    def _work(self) -> Path:
        """The run's own folder: the same run finds its checkpoint there, and no other does."""
        key = hashlib.sha256(json.dumps(self._about, sort_keys=True).encode()).hexdigest()
        return self._out / ".unfinished" / key[:16]

    def _make_decoder(self, low_memory: bool | None) -> tuple[Decoder, bool]:
        weights = Weights(self._model.info.path)
        if low_memory is None:
            low_memory = weights.float_bytes() > _available_bytes() // 2
        weights.keep_bytes = weights.layer_bytes() if low_memory else weights.float_bytes()
        metadata = self._model.metadata(_MOST_LAYERS)
        decoder = Decoder(weights, describe(metadata, weights.optional("rope_freqs.weight")), recompute=low_memory)
        decoder.check_complete()
        return decoder, low_memory

    def _save(self) -> None:
        buffer = io.BytesIO()
        torch.save(self.trainer.state(), buffer)
        files.write(self._work / "checkpoint.pt", buffer.getvalue())


def _check_rows(rows: Sequence[Row], recipe: Recipe) -> None:
    if not rows:
        raise InvalidArgument("data", f"has no example with a right answer, which {recipe.method} needs; kto does not")
    if recipe.method == "dpo" and not any(row.answer and row.rejected for row in rows):
        raise InvalidArgument("data", "has no pair of a right and a wrong answer, which dpo needs")


def _available_bytes() -> int:
    """Of memory, without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) << 10
    return 0
