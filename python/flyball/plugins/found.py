"""The plugins that are there: installed ones by their entry points, and for development those of a folder.

Nothing of them is imported here. What is read is what is hashed, and what runs later: the bytes, not the files.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from ..errors import Error, FileError, FormatError, NotFound
from ..paths import AnyPath, expanded
from .manifest import Manifest

GROUP = "flyball.plugins"
_MOST_FILES, _MOST_BYTES = 2000, 16 << 20
_MANIFEST = "plugin.toml"  # of a package; that of a single module has the module's name


@dataclass(frozen=True)
class Plugin:
    """A plugin that is there.

    object   MODULE or MODULE:NAME, which has the hooks
    code     its files, by their path under a folder that leads its imports
    sha256   of all of them, the manifest among them: what is allowed is this
    origin   the distribution, or the file, for people
    """

    manifest: Manifest
    object: str
    code: Mapping[str, bytes] = field(repr=False)
    sha256: str
    origin: str
    is_installed: bool = True

    @property
    def name(self) -> str:
        """The manifest's."""
        return self.manifest.name


@dataclass(frozen=True)
class Found:
    """`faults`: of those that cannot be used, each with its place."""

    plugins: Mapping[str, Plugin]
    faults: tuple[Error, ...] = ()


def find(folder: AnyPath | None = None) -> Found:
    """All plugins: installed ones, then those of a folder. Of two with one name the first counts."""
    plugins: dict[str, Plugin] = {}
    faults: list[Error] = []
    for found in (*_installed(), *(() if folder is None else _in_folder(Path(expanded(folder))))):
        if isinstance(found, Error):
            faults.append(found)
        elif found.name in plugins:
            faults.append(FormatError(found.origin, f"name {found.name} is that of {plugins[found.name].origin}"))
        else:
            plugins[found.name] = found
    return Found(plugins, tuple(faults))


def _installed() -> Iterator[Plugin | Error]:
    for point in sorted(entry_points(group=GROUP), key=lambda each: (each.name, each.value)):
        try:
            yield _of_point(point)
        except Error as error:
            yield error
        except OSError as error:
            yield FileError(f"{point.name} = {point.value}", f"cannot be read: {error.strerror or error}")


def _of_point(point: EntryPoint) -> Plugin:
    where = f"{point.name} = {point.value}" if point.dist is None else f"{point.dist.name} {point.dist.version}"
    parts = point.module.split(".")
    module = _module_file(parts, where)
    root = module
    for _ in parts[1:]:
        root = root.parent
    is_package = module.name == "__init__.py"
    root = root.parent if is_package else root  # the first part of the module's name
    manifest = module.with_name(_MANIFEST) if is_package or len(parts) > 1 else module.with_suffix(".toml")
    files = [root, manifest] if root.is_file() else sorted(_below(root))
    name = str(point.value).replace(" ", "")
    return _plugin(files, root.parent, manifest, name.partition("[")[0], where)


def _module_file(parts: list[str], where: str) -> Path:
    """Where a module lies. Its packages are looked for, never imported: that would run them here."""
    spec = find_spec(parts[0])
    for n in range(2, len(parts) + 1):
        if spec is not None:
            spec = PathFinder.find_spec(".".join(parts[:n]), spec.submodule_search_locations or [])
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise NotFound(where, f"has no module {'.'.join(parts)} in a file of Python")
    return Path(spec.origin)


def _in_folder(folder: Path) -> Iterator[Plugin | Error]:
    """Files whose manifest stands beside them; others are no plugins."""
    if not folder.is_dir():
        raise NotFound(str(folder), "is no folder")
    for manifest in sorted(folder.glob("*.toml")):
        module = manifest.with_suffix(".py")
        if not module.is_file():
            continue
        try:
            yield _plugin([module, manifest], folder, manifest, module.stem, str(module), is_installed=False)
        except Error as error:
            yield error
        except OSError as error:
            yield FileError(str(module), f"cannot be read: {error.strerror or error}")


def _below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if "__pycache__" not in path.parts and stat.S_ISREG(path.lstat().st_mode):
            yield path


def _plugin(
    files: Iterable[Path], folder: Path, manifest: Path, object: str, where: str, is_installed: bool = True
) -> Plugin:
    code: dict[str, bytes] = {}
    left = _MOST_BYTES
    for n, path in enumerate(files):
        if not path.exists() and path == manifest:
            raise NotFound(where, f"has no manifest: {manifest} is not there")
        with path.open("rb") as file:
            content = file.read(left + 1)
        left -= len(content)
        if left < 0 or n >= _MOST_FILES:
            raise FormatError(where, f"has more than {_MOST_FILES} files or {_MOST_BYTES >> 20} MiB")
        code[path.relative_to(folder).as_posix()] = content
    try:
        raw = code[manifest.relative_to(folder).as_posix()]
    except KeyError:
        raise NotFound(where, f"has no manifest: {manifest} is not there") from None
    return Plugin(Manifest.parse(raw, str(manifest)), object, code, digest_of(code), where, is_installed)


def digest_of(code: Mapping[str, bytes]) -> str:
    """SHA-256 over all names and contents, each with its length."""
    whole = hashlib.sha256()
    for name, content in sorted(code.items()):
        for part in (name.encode(), content):
            whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()
