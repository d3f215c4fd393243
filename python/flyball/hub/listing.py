"""Which models a repository has. Its list of files is untrusted: a name that is no plain one is no model's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import FormatError, NotFound
from .reference import Reference

DEFAULT_QUANTIZATION = "Q4_K_M"
_NAME = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9 ._+-]{0,100}/){0,4}[A-Za-z0-9][A-Za-z0-9 ._+-]{0,200}\.gguf")
_PARTS = re.compile(r"(.+)-([0-9]{5})-of-([0-9]{5})")
_QUANTIZATION = re.compile(
    r"(?:^|[-._/])((?:UD-)?(?:I?Q[1-8](?:_[A-Z0-9]+)*|TQ[12]_0|BF16|F16|F32|MXFP4(?:_MOE)?))$", re.I
)
_NO_MODEL = re.compile(r"mmproj|imatrix", re.I)  # of pictures, and of quantizing
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST_LISTED = 40


@dataclass(frozen=True)
class HubFile:
    """A file of a repository. `name` is a path in it; `sha256` None where the hub gives none."""

    name: str
    n_bytes: int
    sha256: str | None

    @property
    def base(self) -> str:
        """Its name without folders."""
        return self.name.rpartition("/")[2]


@dataclass(frozen=True)
class HubModel:
    """A model of a repository: its parts in order, mostly one."""

    label: str  # its quantization, or its name where that has none
    files: tuple[HubFile, ...]

    @property
    def n_bytes(self) -> int:
        """Of all parts."""
        return sum(file.n_bytes for file in self.files)


def models_of(files: Iterable[HubFile]) -> list[HubModel]:
    """The models among a repository's files, smallest first. Raises FormatError for one that lacks parts."""
    groups: dict[tuple[str, int], dict[int, HubFile]] = {}
    for file in files:
        if not _NAME.fullmatch(file.name) or _NO_MODEL.search(file.base):
            continue
        stem = file.name.removesuffix(".gguf")
        found = _PARTS.fullmatch(stem)
        stem, number, count = (found[1], int(found[2]), int(found[3])) if found else (stem, 1, 1)
        groups.setdefault((stem, count), {})[number] = file
    made = []
    for (stem, count), parts in groups.items():
        if sorted(parts) != list(range(1, count + 1)):
            raise FormatError(stem, f"has {len(parts)} of its {count} parts in the repository")
        made.append(HubModel(_label(stem), tuple(parts[number] for number in sorted(parts))))
    return sorted(made, key=lambda model: (model.n_bytes, model.label))


def chosen(reference: Reference, models: list[HubModel]) -> HubModel:
    """The model that a reference means. Raises NotFound, with what there is."""
    if not models:
        raise NotFound(str(reference), "has no GGUF file; look for a repository whose name ends with GGUF")
    wanted = reference.choice or DEFAULT_QUANTIZATION
    found = [model for model in models if wanted.lower() in _names(model)]
    if len(found) == 1:
        return found[0]
    if not reference.choice and len(models) == 1:
        return models[0]
    what = f"has {len(found)} models" if found else "has no model"
    choices = [model.files[0].base if len(found) > 1 else model.label for model in found or models]
    listed = ", ".join(choices[:_MOST_LISTED]) + (", ..." if len(choices) > _MOST_LISTED else "")
    raise NotFound(str(reference), f"{what} {wanted}; name one: {reference}:CHOICE, of {listed}")


def checked(model: HubModel) -> HubModel:
    """The model. Raises FormatError where the hub does not say what its bytes are."""
    for file in model.files:
        if file.n_bytes <= 0 or not _SHA256.fullmatch(file.sha256 or ""):
            raise FormatError(file.name, "has no size or no SHA-256 on the hub, so that it could not be checked")
    return model


def _label(stem: str) -> str:
    found = _QUANTIZATION.search(stem) or _QUANTIZATION.search(stem.rpartition("/")[0])
    return found[1].upper() if found else stem.rpartition("/")[2]


def _names(model: HubModel) -> set[str]:
    base = model.files[0].base.lower()
    return {model.label.lower(), base, base.removesuffix(".gguf")}
