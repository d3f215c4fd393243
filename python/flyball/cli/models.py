"""`flyball models`: the model files of a folder, with size, type, name and a one-line summary."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from ..errors import Error, FileError, NotFound
from ..model import Model, demo_model_path
from . import common

_CACHE_VERSION = 1


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("models", help="list model files", description=__doc__)
    parser.add_argument(
        "folders", nargs="*", metavar="FOLDER", help="where to look (default: $FLYBALL_MODELS, else . and ./models)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """List the folders' files and the bundled model. A file that cannot be read is listed with its error."""
    summaries = _Summaries(common.cache_folder() / "models.json")
    rows = [summaries.of(path) for path in _files(args.folders)]
    summaries.save()
    if args.json:
        common.write_json(rows)
    elif rows:
        header = ("SIZE", "TYPE", "NAME", "FILE", "SUMMARY")
        cells = [(common.size(r["bytes"]), r["type"], r["name"], r["file"], r["summary"]) for r in rows]
        common.write_table([header, *cells], right=[0])
    else:
        common.write("No model files (*.gguf) found; name the folders to look in.\n")
    return common.HOLDS


def _files(folders: list[str]) -> list[Path]:
    wanted = [Path(folder) for folder in folders]
    if not folders:
        named = [Path(p) for p in os.environ.get("FLYBALL_MODELS", "").split(os.pathsep) if p]
        wanted = [folder for folder in named or [Path("."), Path("models")] if folder.is_dir()]
    found: list[Path] = [] if folders else [path for path in (demo_model_path(),) if path.is_file()]
    for folder in wanted:
        if not folder.is_dir():
            raise NotFound(os.fspath(folder), "is no folder")
        try:
            found += sorted(path for path in folder.iterdir() if path.suffix == ".gguf" and path.is_file())
        except OSError as error:
            raise FileError(os.fspath(folder), f"cannot be read: {error.strerror or error}") from None
    return list({path.resolve(): path for path in found}.values())


class _Summaries:
    """Summaries by path, size and time of change, so that a folder of large files is listed at once."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._changed = False
        self._known: dict[str, dict[str, Any]] = {}
        try:
            content = json.loads(file.read_bytes())
            if isinstance(content, dict) and content.get("version") == _CACHE_VERSION:
                self._known = {key: value for key, value in content["models"].items() if _is_summary(value)}
        except (OSError, ValueError, KeyError, AttributeError):
            pass  # a lost or damaged cache costs time only

    def of(self, path: Path) -> dict[str, Any]:
        """The summary of one file."""
        try:
            stat = path.stat()
        except OSError as error:
            return _row(path, 0, "?", "-", f"cannot be read: {error.strerror}")
        key = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}"
        if key not in self._known:
            self._known[key] = _summarise(path, stat.st_size)
            self._changed = True
        return self._known[key] | {"file": str(path)}

    def save(self) -> None:
        """Remember for next time; a folder that cannot be written is no reason to fail."""
        if not self._changed:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            handle, aside = tempfile.mkstemp(dir=self._file.parent)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({"version": _CACHE_VERSION, "models": self._known}, file)
            os.replace(aside, self._file)
        except OSError:
            pass


def _is_summary(value: object) -> bool:
    kinds = {"file": str, "bytes": int, "type": str, "name": str, "summary": str, "ok": bool}
    return isinstance(value, dict) and all(isinstance(value.get(key), kind) for key, kind in kinds.items())


def _row(path: Path, n_bytes: int, kind: str, name: str, summary: str, ok: bool = False) -> dict[str, Any]:
    return {"file": str(path), "bytes": n_bytes, "type": kind, "name": name, "summary": summary, "ok": ok}


def _summarise(path: Path, n_bytes: int) -> dict[str, Any]:
    try:
        with Model.load(path, vocab_only=True, threads=1) as model:
            info = model.info
            summary = (
                f"{info.architecture}, {common.count(info.n_parameters)} parameters, {info.n_layer} layers,"
                f" context {info.context_length}, {info.n_vocab} tokens"
            )
            name = common.printable(info.name) or "-"
            return _row(path, info.file_bytes, info.quantisation, name, summary, ok=True)
    except Error as error:
        return _row(path, n_bytes, "?", "-", " ".join(str(error).split()))
