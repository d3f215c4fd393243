"""Folders of adapters: `adapter.gguf` and `manifest.json`, each folder named by the digest of its file.

A folder is made whole, beside its place, and then renamed: what is found under a digest is complete, and is never
written again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import _core, files
from ..engine.adapter import Adapter, AdapterFile, describe_adapter
from ..engine.model import Model
from ..errors import Error, FileError, FormatError, InvalidArgument, NotFound
from ..paths import AnyPath, expanded

SCHEMA = "flyball-adapter/1"
FILE, MANIFEST = "adapter.gguf", "manifest.json"
_DIGEST = re.compile("[0-9a-f]{64}")
_MOST_BYTES = 4 << 20


@dataclass(frozen=True)
class Manifest:
    """What is known of an adapter's making. `rows`: ids of the examples that it was trained with; `text`: all of it."""

    digest: str
    base_name: str
    base: str  # the model's fingerprint
    parent: str | None
    method: str
    rows: tuple[str, ...]
    text: str

    @classmethod
    def parse(cls, text: str, where: str) -> Manifest:
        """From its JSON; raises FormatError with the member."""
        try:
            given = json.loads(text)
            if not isinstance(given, dict):
                raise ValueError("must be an object")
            if given.get("schema") != SCHEMA:
                raise ValueError(f"schema: is {given.get('schema')!r}, must be {SCHEMA}")
            base, data = (_inside(given, name) for name in ("base", "data"))
            parent = given.get("parent")
            rows = data.get("rows", [])
            if not isinstance(rows, list) or not all(isinstance(row, str) for row in rows):
                raise ValueError("data.rows: must be a list of ids")
            return cls(
                digest=_digest("digest", given.get("digest")),
                base_name=_text("base.name", base.get("name")),
                base=_digest("base.fingerprint", base.get("fingerprint")),
                parent=None if parent is None else _digest("parent", parent),
                method=_text("method", given.get("method")),
                rows=tuple(rows),
                text=text,
            )
        except (ValueError, RecursionError) as error:
            raise FormatError(where, str(error)) from None


def _inside(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = given.get(name)
    if not isinstance(value, dict):
        raise ValueError(f"{name}: must be an object")
    return value


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name}: must be a text")
    return value


def _digest(name: str, value: object) -> str:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise ValueError(f"{name}: must be a SHA-256 in hexadecimal")
    return value


def home() -> Path:
    """The folder of all adapters of this user."""
    folder = files.state_folder()
    if folder is None:
        raise InvalidArgument("adapters", "have no place: there is no home folder")
    return folder / "adapters"


def file_of(digest: str) -> Path | None:
    """The file of an adapter of this user, by its digest."""
    if not _DIGEST.fullmatch(digest) or files.state_folder() is None:
        return None
    path = home() / digest / FILE
    return path if path.is_file() else None


def opened(folder: AnyPath) -> Manifest:
    """The manifest of a folder whose file is the one that it names.

    Raises NotFound, FileError or FormatError for a folder that is half written, changed, or another's.
    """
    path = Path(expanded(folder))
    manifest = _read(path)
    if path.name != manifest.digest and _DIGEST.fullmatch(path.name):
        raise FormatError(str(path), f"has the adapter {manifest.digest[:16]}..., not the one that it is named by")
    found = _described(path / FILE)
    if found.fingerprint != manifest.digest:
        raise FormatError(
            str(path / FILE),
            f"was changed: its digest is {found.fingerprint[:16]}..., the manifest says {manifest.digest[:16]}...",
        )
    return manifest


def load(model: Model, folder: AnyPath, digest: str) -> Adapter:
    """The adapter of a folder, for this model; raises what opened() does, and InvalidArgument for another
    model's."""
    path = Path(expanded(folder))
    manifest = _read(path)
    check_base(model, manifest)
    if not (path / FILE).is_file():
        raise NotFound(str(path / FILE), "does not exist; restore it, or roll the adapter back")
    adapter = model.load_adapter(path / FILE)  # its fingerprint is that of the bytes that were read
    for said in (manifest.digest, adapter.fingerprint):
        if said != digest:
            raise FormatError(
                str(path), f"was changed: it has the adapter {said[:16]}..., the registry says {digest[:16]}..."
            )
    return adapter


def check_base(model: Model, manifest: Manifest) -> None:
    """Raise InvalidArgument for an adapter of another model: its matrices may fit, and mean nothing here."""
    if manifest.base != model.fingerprint():
        what = f"was made for {manifest.base_name!r}, {manifest.base[:16]}..., not for this model"
        raise InvalidArgument(f"adapter {manifest.digest[:16]}", f"{what}, {model.fingerprint()[:16]}...")


def installed(source: AnyPath, model: Model | None = None) -> tuple[Path, Manifest]:
    """Copy a folder, or a bare file, of a `model`'s adapter to its place under home(); there already, it stays."""
    path = Path(expanded(source))
    if path.is_dir():
        manifest = opened(path)
        if model is not None:
            check_base(model, manifest)
        if path.parent == home():
            return path, manifest
        file = path / FILE
    else:
        if model is None:
            raise InvalidArgument(str(path), "is a file without a manifest: --model says which model it is for")
        file, manifest = path, _imported(path, model)
    place = home() / manifest.digest
    if not place.exists():
        _copy(file, manifest, place)
    return place, opened(place)


def _imported(path: Path, model: Model) -> Manifest:
    """The manifest of a file that was trained elsewhere."""
    found = _described(path)
    about: dict[str, object] = {
        "schema": SCHEMA,
        "digest": found.fingerprint,
        "base": {"name": model.info.name, "fingerprint": model.fingerprint()},
        "method": "import",
        "recipe": {"rank": found.rank, "alpha": found.alpha},
        "data": {"digest": None, "rows": [], "held_out": []},
        "parent": None,
        "versions": {"flyball": _core.version},
    }
    return Manifest.parse(json.dumps(about, indent=2), str(path))


def _copy(file: Path, manifest: Manifest, place: Path) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".adding-", dir=place.parent) as folder:
            made = Path(folder) / place.name
            made.mkdir(mode=0o755)
            files.write(made / MANIFEST, manifest.text)
            shutil.copyfile(file, made / FILE)
            with open(made / FILE, "rb") as copied:
                os.fsync(copied.fileno())
            opened(made)  # the file may have changed meanwhile
            made.rename(place)
    except OSError as error:
        if isinstance(error, Error):
            raise
        if not place.is_dir():  # else another program was faster, with the same bytes
            raise FileError(str(place), f"cannot be written: {error.strerror or error}") from None


def _read(path: Path) -> Manifest:
    where = str(path / MANIFEST)
    try:
        text = files.read(where, _MOST_BYTES).decode()
    except NotFound:
        raise NotFound(where, "does not exist: the folder is no adapter, or was not written whole") from None
    except UnicodeDecodeError as error:
        raise FormatError(where, "is not UTF-8", error.start) from None
    return Manifest.parse(text, where)


def _described(path: Path) -> AdapterFile:
    found = describe_adapter(path)
    if found is None:
        raise FormatError(str(path), "is no adapter")
    return found
