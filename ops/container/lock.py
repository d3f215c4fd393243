"""The container image's lock: each package with the SHA-256 of the one file that is installed, as pip resolves them.

pip reads the locks as requirements. The image's Python and C library bound the files; markers are those of the Python
that resolves, which therefore must be the image's.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from flyball.errors import InvalidArgument, NotFound, Unsupported

from ..release.sbom import Part

FOLDER = Path(__file__).parent
PROJECT = FOLDER.parents[1] / "pyproject.toml"
EXTRAS = ("serve", "scale", "postgres", "redis", "otel")  # that the image has
PRODUCT = "flyball"

_PYTHON, _GLIBC = "3.11", 36  # of Debian 12; 2.36
_TARGET = {"python_version": _PYTHON, "platform_machine": "x86_64", "sys_platform": "linux"}
_PLATFORMS = [f"--platform=manylinux_2_{minor}_x86_64" for minor in range(5, _GLIBC + 1)]
_HEADER = f"# Written by `make lock`, for CPython {_PYTHON} on x86-64 and glibc 2.{_GLIBC}. Not to be edited.\n"
_LINE = re.compile(r"(?P<name>[\w.-]+)==(?P<version>\S+) --hash=sha256:(?P<sha256>[0-9a-f]{64})  # via (?P<via>.+)")


def wanted(project: Mapping[str, Any]) -> dict[str, list[str]]:
    """What pyproject.toml asks for, by lock: what the image runs, and what builds it."""
    extras = project["project"]["optional-dependencies"]
    run = [*project["project"]["dependencies"], *(line for name in EXTRAS for line in extras[name])]
    return {"run.txt": run, "build.txt": project["dependency-groups"]["build"]}


def write(folder: Path = FOLDER, project: Path = PROJECT) -> None:
    """Resolve anew, and write all locks into the folder."""
    for name, requirements in wanted(tomllib.loads(project.read_text(encoding="utf-8"))).items():
        (folder / name).write_text(text_of(_report(requirements), requirements), encoding="utf-8")


def text_of(report: Mapping[str, Any], requirements: Sequence[str]) -> str:
    """The lock of pip's installation report."""
    environment = report["environment"]
    if differing := [f"{key} {environment[key]}" for key, value in _TARGET.items() if environment[key] != value]:
        what = f"resolves as {', '.join(differing)}; the image has {', '.join(_TARGET.values())}"
        raise Unsupported(sys.executable, what)
    via: defaultdict[str, set[str]] = defaultdict(set)
    for line in requirements:
        via[_name(line)].add(PRODUCT)
    for found in report["install"]:
        extras = ("", *found.get("requested_extras", ()))
        for line in found["metadata"].get("requires_dist", ()):
            marker = Requirement(line).marker
            if marker is None or any(marker.evaluate(environment | {"extra": extra}) for extra in extras):
                via[_name(line)].add(canonicalize_name(found["metadata"]["name"]))
    lines = []
    for found in report["install"]:
        name, version = canonicalize_name(found["metadata"]["name"]), found["metadata"]["version"]
        sha256 = found["download_info"]["archive_info"]["hashes"]["sha256"]
        lines.append(f"{name}=={version} --hash=sha256:{sha256}  # via {', '.join(sorted(via[name]))}\n")
    return _HEADER + "".join(sorted(lines))


def parts(text: str, where: str = "", *, tool: bool = False) -> list[Part]:
    """The packages of a lock. `tool`: they only build. A line that is no package is an error."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found = []
    for number, line in enumerate(lines, 1):
        if (match := _LINE.fullmatch(line)) is None:
            raise InvalidArgument(where or "lock", f"package {number} is {line!r}; run make lock")
        found.append(match)
    requires: defaultdict[str, list[str]] = defaultdict(list)
    for each in found:
        for parent in each["via"].split(", "):
            requires[parent].append(each["name"])
    return [
        Part(
            each["name"],
            each["version"],
            sha256=each["sha256"],
            requires=tuple(requires[each["name"]]),
            on_pypi=True,
            tool=tool,
        )
        for each in found
    ]


def _report(requirements: Sequence[str]) -> dict[str, Any]:
    """What pip would install from the package index, and nothing is."""
    options = ["--dry-run", "--ignore-installed", "--quiet", "--report=-", "--only-binary=:all:", "--target=none"]
    target = ["--implementation=cp", f"--python-version={_PYTHON}", "--abi=cp311", "--abi=abi3", "--abi=none"]
    command = [sys.executable, "-m", "pip", "install", *options, *target, *_PLATFORMS, *requirements]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotFound("pip", f"resolved no lock: {done.stderr.strip().splitlines()[-1]}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def _name(requirement: str) -> str:
    return canonicalize_name(Requirement(requirement).name)
