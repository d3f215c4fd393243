"""Make a release: build HEAD twice, compare byte for byte, bundle, and try it in a new environment.

The two builds differ in folder, time zone, locale and umask, and have tools of the same versions. The folder gets
log.txt, the bundle, and after a failure work/.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tomllib
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from flyball import image
from flyball.errors import NotFound
from flyball.evidence.gates import Verdict, failed, inconclusive, passed

from . import archives
from .commands import Commands, Done

if TYPE_CHECKING:
    from .sbom import Part

CHECKOUT = Path(__file__).resolve().parents[2]
_BUILD_SECONDS = 3600
_COMPILERS = ("clang++-19", "lld-link-19")  # of the boot program
_MODEL = "python/flyball/data/flyball-demo.gguf"
_PROGRAMS = ("flyball-repl", "flyball-native")
_PROMPT = ("-p", "Once upon a time", "-n", "8")
_MAKE_IMAGE = "import sys; from flyball import image; image.build(sys.argv[1], sys.argv[2:3], program=sys.argv[3])"
_OUT_OF_REACH = re.compile("connection|name resolution|timed out|timeout after", re.IGNORECASE)
_SECOND = "second/in-another-place"
_SEE_LOG = "see release/log.txt in the run's folder"


class _Ended(Exception):
    """Ends the stage with a verdict."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.message)
        self.verdict = verdict


class Commit(NamedTuple):
    """The released commit; `time` in seconds since 1970."""

    checkout: Path
    id: str
    time: int


class Build(NamedTuple):
    """One of the two builds, in a folder: clean sources, an environment with the tools, and the products."""

    folder: Path
    variables: dict[str, str]
    umask: int

    @property
    def source(self) -> Path:
        """The copy of HEAD."""
        return self.folder / "source"

    @property
    def tools(self) -> Path:
        """The environment of the tools."""
        return self.folder / "tools"

    @property
    def made(self) -> Path:
        """The products, which go into the bundle."""
        return self.folder / "made"


def make(folder: Path, kept: Path, checkout: Path = CHECKOUT) -> tuple[Verdict, dict[str, Any]]:
    """Make a release of the checkout's HEAD, without touching the checkout or the current environment.

    `kept`: a folder in the checkout that may have changes, as runs write there.
    """
    shutil.rmtree(folder, ignore_errors=True)
    work = folder / "work"
    work.mkdir(parents=True)
    values: dict[str, Any] = {}
    try:
        verdict = _release(Commands(folder / "log.txt"), folder, checkout, kept, values)
    except _Ended as ended:
        verdict = ended.verdict
        for environment in ("first/tools", f"{_SECOND}/tools", "clean"):  # they take half a gigabyte
            shutil.rmtree(work / environment, ignore_errors=True)
    else:
        shutil.rmtree(work)
    return verdict, values


def _release(commands: Commands, folder: Path, checkout: Path, kept: Path, values: dict[str, Any]) -> Verdict:
    work = folder / "work"
    try:
        from . import sbom
    except NotFound as error:
        _inconclusive(str(error), "run make release-tools")
    commit = find_commit(commands, checkout, kept)
    first = Build(work / "first", {"TZ": "UTC", "LC_ALL": "C.UTF-8"}, 0o022)
    second = Build(work / _SECOND, {"TZ": "UTC-14", "LC_ALL": "C"}, 0o027)
    values |= {"commit": commit.id, "left_out": _build(commands, commit, first, first)}
    _build(commands, commit, second, first)
    compare(first.made, second.made)
    wheel = next(first.made.glob("*.whl"))
    check_wheel(wheel, first.source)

    parts = sbom.resolved(_install(commands, work, wheel))
    product = parts.pop("flyball")
    others = [*parts.values(), *_built_with(commands, first, product)]
    requires = (*product.requires, "pybind11", "flyball-demo")
    text = sbom.document(replace(product, kind="application", requires=requires), others, commit.time)
    if fault := sbom.fault(text):
        _broken(f"the bill of materials is not valid: {fault}", "ops/release/sbom.py writes it")
    bundle = work / f"flyball-{product.version}-release"
    fill(bundle, first)
    (bundle / "sbom.cdx.json").write_text(text)
    archives.write_sums(bundle)
    packed = folder / f"{bundle.name}.tar.gz"
    archives.pack(packed, bundle, commit.time)

    check_bundle(commands, packed, work / "extracted")
    answer = _try(commands, work)
    made = {file.name: archives.sha256(file) for file in sorted(first.made.iterdir())}
    about = {"bundle": packed.name, "bytes": packed.stat().st_size, "sha256": archives.sha256(packed)}
    values |= {**about, "archives": made, "parts": {part.name: part.version for part in others}, "answer": answer}
    message = f"{', '.join(made)}: the same from both builds, and the wheel works in a new environment"
    message += "".join(f"; left out: {what}" for what in values["left_out"])
    return passed("RELEASE_READY", message, commit=commit.id, **about)


def find_commit(commands: Commands, checkout: Path, kept: Path) -> Commit:
    """HEAD of the checkout; uncommitted changes outside `kept` end the stage."""
    if shutil.which("git") is None:
        _inconclusive("git is not installed", "install the package git")
    git = ["git", "-C", str(checkout)]
    kept = kept.resolve()
    but = [f":(exclude){kept.relative_to(checkout)}"] if kept.is_relative_to(checkout) else []
    status = commands([*git, "status", "--porcelain", "--", ".", *but])
    head = commands([*git, "log", "-1", "--format=%H %ct"])
    for done in (status, head):
        if not done.well:
            _inconclusive(f"git: {done.why}", _SEE_LOG)
    changed = [line[3:] for line in status.output.splitlines()]
    if changed:
        _inconclusive(
            f"{_first_of(changed)} is not committed", "commit it, or git stash -u, as a release is made of a commit"
        )
    commit, time = head.output.split()
    return Commit(checkout, commit, int(time))


def _build(commands: Commands, commit: Commit, build: Build, like: Build) -> list[str]:
    """Build all products with the tool versions of `like`; returns what had to be left out."""
    temporary = build.folder / "tmp"
    for folder in (build.source, build.made, temporary):
        folder.mkdir(parents=True)
    variables = {
        **build.variables,
        "SOURCE_DATE_EPOCH": str(commit.time),
        "TMPDIR": str(temporary),
        "PATH": f"{build.tools / 'bin'}:{os.environ.get('PATH', os.defpath)}",
        "CMAKE_GENERATOR": "Ninja",
    }

    def do(what: str, *command: str | Path, **changed: str) -> None:
        _well(what, commands(command, _BUILD_SECONDS, variables=variables | changed, umask=build.umask))

    tar = build.folder / "source.tar"
    do("git archive", "git", "-C", commit.checkout, "archive", "-o", tar, commit.id)
    do("tar", "tar", "-xf", tar, "-C", build.source)
    tar.unlink()
    _environment(commands, build.tools)
    python = build.tools / "bin/python"
    frozen = like.folder / "tools.txt"
    wanted = requirements(build.source) if build is like else ["-r", str(frozen)]
    done = _pip_install(commands, python, *wanted)
    if not done.well:
        _inconclusive(f"pip: {done.why}", "the build tools need a package index: a network, or PIP_FIND_LINKS")
    if build is like:
        frozen.write_text(_well("pip freeze", commands([python, "-m", "pip", "freeze"])).output)
    # The wheel is built from the sdist, which proves that it is complete.
    do("the build", python, "-m", "build", "--no-isolation", "--outdir", build.made, build.source)

    wanting = next((f"{name} is not installed" for name in _COMPILERS if shutil.which(name) is None), None)
    if wanting:
        return [f"flyball.efi, flyball.img: {wanting}"]
    native = build.folder / "efi"
    do("cmake", "cmake", "-S", build.source, "-B", native)
    do("the boot program's build", "cmake", "--build", native, "--target", "efi")
    program = build.made / "flyball.efi"
    shutil.copyfile(native / "flyball.efi", program)
    lacking = [f"{what} {why}" for what, why in image.preflight(build.folder) if what in ("mformat", "mcopy", "mmd")]
    if lacking:
        return [f"flyball.img: {lacking[0]}"]
    # FAT has local time.
    paths = (build.made / "flyball.img", build.source / _MODEL, program)
    do("the boot image", sys.executable, "-c", _MAKE_IMAGE, *paths, TZ="UTC")
    return []


def requirements(source: Path) -> list[str]:
    """The build requirements in pyproject.toml."""
    groups = tomllib.loads((source / "pyproject.toml").read_text())["dependency-groups"]
    return [*groups["build"], *(name for name in groups["release"] if name.startswith("build"))]


def compare(first: Path, second: Path) -> None:
    """Fail unless both builds have the same files with the same bytes."""
    found = archives.differences(first, second)
    if found:
        hint = "release/work has both; use cmp -l and strings to find a path, a time or an order"
        message = f"two builds of the same sources differ: {_first_of(found)}"
        raise _Ended(failed("RELEASE_DIFFERS", message, hint, differences=found))


def check_wheel(wheel: Path, source: Path) -> None:
    """Fail unless the wheel has all sources and data, the extension, the programs and the license."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    package = source / "python"
    parts = [file for name in ("flyball", "flyball_command") for file in (package / name).rglob("*")]
    files = {file.relative_to(package).as_posix() for file in parts if file.is_file()}
    patterns = {
        "the extension": r"flyball/_core\.[^/]*so",
        "the command": r"[^/]*\.dist-info/entry_points\.txt",
        "the license": r"[^/]*\.dist-info/licenses/LICENSE",
        **{name: rf"[^/]*\.data/scripts/{name}" for name in _PROGRAMS},
    }
    built = [what for what, pattern in patterns.items() if not any(re.fullmatch(pattern, name) for name in names)]
    if lacking := [*built, *sorted(files - names)]:
        hint = "pyproject.toml and the install rules in CMakeLists.txt define the contents of the wheel"
        _broken(f"{wheel.name} lacks {_first_of(lacking)}", hint, lacking=lacking)


def _install(commands: Commands, work: Path, wheel: Path) -> dict[str, Any]:
    """Install the wheel and its dependencies into a new environment; returns pip's report."""
    _environment(commands, work / "clean")
    python, report = work / "clean/bin/python", work / "installed.json"
    done = _pip_install(commands, python, "--report", report, wheel)
    if not done.well and _OUT_OF_REACH.search(done.errors + done.why):
        _inconclusive(f"pip: {done.why}", "the dependencies need a package index: a network, or PIP_FIND_LINKS")
    _well("pip install", done)
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def _built_with(commands: Commands, build: Build, product: Part) -> list[Part]:
    """The parts of the build: the model, compiled-in libraries, and tools, which are not in the product."""
    from .sbom import Part, frozen

    digest = archives.sha256(build.source / _MODEL)
    parts = [Part("flyball-demo", product.version, "machine-learning-model", digest, product.license)]
    parts += frozen((build.folder / "tools.txt").read_text(), compiled_in=("pybind11",))
    for name in (os.environ.get("CXX", "c++"), "ld", *_COMPILERS):
        if shutil.which(name):
            said = _well(name, commands([name, "--version"])).output
            parts.append(Part(Path(name).name, said.splitlines()[0], "application", tool=True))
    return parts


def fill(bundle: Path, build: Build) -> None:
    """Fill the bundle with the products and the licenses of their parts."""
    shutil.copytree(build.made, bundle)
    shutil.copy(build.source / "LICENSE", bundle)
    found = next(build.tools.glob("lib/python*/site-packages/pybind11-*.dist-info/licenses/LICENSE"), None)
    if found is None:
        _broken("pybind11's license was not found", "it is compiled in, so the bundle must have its license")
    (bundle / "licenses").mkdir()
    shutil.copy(found, bundle / "licenses/pybind11.txt")


def check_bundle(commands: Commands, packed: Path, folder: Path) -> None:
    """Fail unless the bundle extracts and every file matches its checksum."""
    folder.mkdir()
    _well("tar", commands(["tar", "-xzf", packed, "-C", folder]))
    if faults := archives.check_sums(folder / packed.name.removesuffix(".tar.gz")):
        _broken(f"{packed.name}: {_first_of(faults)}", "ops/release/archives.py writes both", faults=faults)


def _try(commands: Commands, work: Path) -> str:
    """Generate and verify an answer with the wheel; returns its digest, which must be that of this build."""
    user = {f"XDG_{name}_HOME": str(work / "user") for name in ("STATE", "CACHE", "CONFIG")}

    def do(*command: str | Path) -> None:
        _well(" ".join(map(str, command)), commands(command, folder=work, variables=user))

    installed = work / "clean/bin/flyball"
    do(installed, "run", *_PROMPT, "--receipt", "clean.json")
    do(installed, "verify", "clean.json")
    do(sys.executable, "-m", "flyball", "run", *_PROMPT, "--receipt", "own.json")
    clean, own = (str(json.loads((work / f"{name}.json").read_text())["digest"]) for name in ("clean", "own"))
    if clean != own:
        _broken(f"the wheel's digest is {clean[:12]}, that of this build {own[:12]}", "make run builds HEAD here")
    return clean


def _environment(commands: Commands, folder: Path) -> None:
    done = commands([sys.executable, "-m", "venv", folder])
    if not done.well:
        _inconclusive(f"python -m venv: {done.why}", "install the package python3-venv")


def _pip_install(commands: Commands, python: Path, *wanted: str | Path) -> Done:
    return commands([python, "-m", "pip", "install", "--no-input", "-q", *wanted], _BUILD_SECONDS)


def _well(what: str, done: Done) -> Done:
    if not done.well:
        _broken(f"{what}: {done.why}", _SEE_LOG)
    return done


def _first_of(found: Sequence[str]) -> str:
    return found[0] + (f" and {len(found) - 1} more" if len(found) > 1 else "")


def _broken(message: str, hint: str, **evidence: Any) -> NoReturn:
    raise _Ended(failed("RELEASE_BROKEN", message, hint, **evidence))


def _inconclusive(message: str, hint: str) -> NoReturn:
    raise _Ended(inconclusive("PREFLIGHT_MISSING", message, hint))
