"""What a boot image is made of, checked before anything is written: at boot nobody may be there to read an error."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from .. import _core, files
from ..engine.model import Model, demo_model_path
from ..engine.model_file import part_paths
from ..errors import Error, FileError, FormatError, InvalidArgument, NotFound, Unsupported

BOOT_PATH = "EFI/BOOT/BOOTX64.EFI"
CONFIG = "flyball.toml"
_FOLDERS = ("EFI", "EFI/BOOT", "models")
_MOST_FILE_BYTES = (4 << 30) - 1  # of FAT32
_MOST_CONFIG_BYTES = 1 << 20
_MOST_CONTEXT = 8192  # where none is set
_MACHINE_BYTES = 100 << 20  # firmware and program (5 MB of it), in QEMU with OVMF
_LONGEST_NAME = 200  # the boot program's limit is 240 bytes of path, with a folder and an ending for a file set aside
_NOT_IN_FAT = '"*/:<>?\\|'
_OTHER_VOLUME = re.compile(r"fs[1-9][0-9]*:")


class Entry(NamedTuple):
    """A file, and its path on the volume."""

    source: Path
    name: str


def gather(program: Path | None, models: Sequence[Path], config: Path | None, beside: Sequence[Path]) -> list[Entry]:
    """All files of an image; raises Error for what would not fit on it or not work at boot. Reads only.

    The later parts of a split model come with its first.
    """
    entries = [Entry(program, BOOT_PATH)] if program is not None else []
    for model in models:
        entries += [Entry(part, f"models/{part.name}") for part in model_parts(model)]
    entries += [Entry(file, file.name) for file in beside]
    if config is not None:
        entries.append(Entry(config, CONFIG))
    for entry in entries:
        _check_file(entry)
    names = _distinct(entries)
    configs = [entry.source for entry in entries if entry.name.lower() == CONFIG]
    named = _check_config(configs[0], names) if configs else set()
    for entry in entries:
        _check_findable(entry, named)
    return entries


def model_parts(path: Path) -> list[Path]:
    """The files of a model, after a look at its metadata; raises Error if it cannot be run."""
    _check_regular(path)
    try:
        summary = _core.catalog_summarize(os.fsencode(path), b"")
    except Error as error:
        raise FileError(str(path), error.what) from None
    if problem := summary["problem"]:
        raise FormatError(str(path), f"cannot be run: {problem}; include another model, or copy this one again")
    return [path] if summary["parts"] == 1 else [Path(part) for part in part_paths(str(path))]


def memory_of(model: Path, context: int = _MOST_CONTEXT) -> int:
    """Bytes that a machine needs to boot and run a model: firmware and program, its files once, keys and values."""
    with Model.load(model, vocab_only=True) as loaded:
        info = loaded.info
    cache = info.cache_bytes(min(info.context_length, context))
    return _MACHINE_BYTES + sum(part.stat().st_size for part in model_parts(model)) + cache


def _check_regular(path: Path) -> None:
    if not path.is_file():
        raise NotFound(str(path), "is not a file" if path.exists() else "does not exist")
    if not os.access(path, os.R_OK):
        raise FileError(str(path), "cannot be read: permission denied")


def _check_file(entry: Entry) -> None:
    path, name = entry.source, entry.name.rpartition("/")[2]
    _check_regular(path)
    if path.stat().st_size > _MOST_FILE_BYTES:
        raise InvalidArgument(str(path), "is larger than 4 GiB, the limit of FAT32; split it")
    if why := _refused_name(name):
        raise InvalidArgument(str(path), f"its name {why}; rename the file")


def _refused_name(name: str) -> str:
    """Why a file of a volume cannot have this name; empty: it can."""
    if not (name.isascii() and name.isprintable()):
        return "has a character that is not printable ASCII, which the boot program cannot open"
    if bad := next((character for character in name if character in _NOT_IN_FAT), ""):
        return f"has the character {bad}, which FAT does not allow"
    if name.endswith((".", " ")) or name.startswith(" "):
        return "begins or ends with a space or ends with a period, which FAT drops"
    if len(name) > _LONGEST_NAME:
        return f"has {len(name)} characters, at most {_LONGEST_NAME} are possible"
    return ""


def _distinct(entries: Iterable[Entry]) -> set[str]:
    """The names in lower case; raises InvalidArgument for two that are the same to FAT, which knows no case."""
    taken: dict[str, Path | None] = {folder.lower(): None for folder in _FOLDERS}
    for source, name in entries:
        if name.lower() in taken:
            other = taken[name.lower()]
            what = "a folder of the image" if other is None else str(other)
            raise InvalidArgument(
                str(source),
                f"would be {name} on the image, and so would {what} (names there do not depend on case); "
                "rename one or leave it out",
            )
        taken[name.lower()] = source
    return {name for name, source in taken.items() if source is not None}


def _check_findable(entry: Entry, named: set[str]) -> None:
    folder, _, name = entry.name.rpartition("/")
    if folder != "models" or entry.name.lower() in named:
        return
    if not name.lower().endswith(".gguf") or name.startswith("."):
        raise InvalidArgument(
            str(entry.source),
            "the boot program would not find it: names of models end in .gguf and do not begin with a period; "
            f'rename it, or name it in the configuration: model = "{entry.name}"',
        )


def _check_config(path: Path, names: set[str]) -> set[str]:
    """Read it as the boot program does; returns the models that it names, in lower case."""
    parsed = _core.config_parse(str(path), files.read(path, _MOST_CONFIG_BYTES))
    settings = {key: (value, f"{path}:{line}") for key, (value, line, _) in parsed.items()}
    governor = {
        key: str(value) for key, (value, _) in settings.items() if "." in key and not key.startswith("sampling.")
    }
    try:
        _core.governor_check(governor)
    except Error as error:
        raise error.in_file(str(path)) from None
    if "isa" in settings:
        _check_isa(*settings["isa"])
    named = set()
    for key in ("model", "draft", "adapter", "journal", "log", "policy_file"):
        value, where = settings.get(key, ("", ""))
        if key == "adapter":
            value = _core.adapter_argument(os.fsencode(str(value)))[0].decode(errors="replace")
        if value == "" or _OTHER_VOLUME.match(str(value)):
            continue
        inside = str(value).removeprefix("fs0:").strip("/").replace("//", "/")
        folder, _, name = inside.lower().rpartition("/")
        if why := _refused_name(name):
            raise InvalidArgument(where, f"{key}: the name {value!r} {why}")
        if key in ("model", "draft", "adapter"):
            if inside.lower() not in names:
                how = "--file" if key == "adapter" else "--model and name it as models/FILE"
                raise NotFound(where, f"{key}: {value} is not on the image; add it with {how}")
            named.add(inside.lower())
        elif folder and folder not in (known.lower() for known in _FOLDERS):
            raise NotFound(where, f"{key}: the image has no folder {folder}; name a file without a folder")
    return named


def _check_isa(name: object, where: str) -> None:
    """Whether it exists; this processor need not have it."""
    try:
        Model.load(demo_model_path(), isa=str(name), vocab_only=True).close()
    except Unsupported:
        pass
    except Error as error:
        raise InvalidArgument(where, f"isa {error.what}") from None
