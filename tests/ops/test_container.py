"""ops/container: the recipe, the locks that it installs, and the bill of materials. No engine runs here."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import flyball
from flyball.errors import InvalidArgument, Unsupported
from ops.container import lock
from ops.container.__main__ import bill

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "ops" / "container"
RECIPE = (FOLDER / "Containerfile").read_text()
WANTED = lock.wanted(tomllib.loads((ROOT / "pyproject.toml").read_text()))
TIME = 1795290780
LINE = f"a==1 --hash=sha256:{'0' * 64}  # via flyball\n"


def steps() -> list[tuple[str, str]]:
    """The recipe's instructions, each in one line, without comments."""
    text = re.sub(r"^#.*\n", "", RECIPE, flags=re.MULTILINE).replace("\\\n", "")
    found = [line.partition(" ") for line in text.splitlines() if line]
    return [(name, re.sub(r"\s+", " ", rest)) for name, _, rest in found]


def packages(name: str) -> dict[str, str]:
    return {part.name: part.version for part in lock.parts((FOLDER / name).read_text(), name)}


# --- the recipe -------------------------------------------------------------------------------------------------------


def test_hadolint_finds_nothing() -> None:
    hadolint = str(Path(sys.executable).with_name("hadolint"))
    command = [hadolint, "--failure-threshold=style", str(FOLDER / "Containerfile")]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (said.returncode, said.stdout) == (0, "")


def test_the_base_is_named_by_its_hash_and_packages_by_a_day() -> None:
    images = [rest.split()[0] for name, rest in steps() if name == "FROM"]
    base = re.fullmatch(r"debian:bookworm-(\d{8})-slim@sha256:[0-9a-f]{64}", images[0])
    assert base is not None
    assert set(images[1:]) == {"base"}
    assert re.findall(r"snapshot\.debian\.org/archive/.*/(\w+) ", RECIPE) == [f"{base[1]}T000000Z"]


def test_what_is_copied_is_there_and_under_version_control() -> None:
    sources = [source for name, rest in steps() if name == "COPY" for source in rest.split()[:-1]]
    copied = [source for source in sources if source not in ("--from=build", "/opt/flyball")]
    assert {"cpp", "python", "ops/container/run.txt", "pyproject.toml"} <= set(copied)
    assert [source for source in copied if not (ROOT / source).exists()] == []
    ignored = subprocess.run(["git", "-C", str(ROOT), "check-ignore", *copied], capture_output=True, text=True)
    assert (ignored.returncode, ignored.stdout) == (1, "")


def test_everything_is_installed_by_hash_or_from_what_was_built() -> None:
    commands = [command for name, rest in steps() if name == "RUN" for command in rest.split(";")]
    installs = [command for command in commands if re.search(r"/pip .*(install|wheel) ", command)]
    assert len(installs) == 4
    for command in installs:
        assert "--require-hashes" in command or "--no-index" in command, command
    assert not re.search(r"curl|wget|git clone|ADD ", RECIPE)


def test_the_image_is_nobodys_and_starts_no_shell() -> None:
    names = [name for name, _ in steps()]
    told = dict(steps()[len(names) - names[::-1].index("FROM") :])  # of the last stage
    assert told["USER"] == "65532:65532"
    assert json.loads(told["ENTRYPOINT"]) == ["/opt/flyball/bin/flyball"]
    assert json.loads(told["CMD"]) == ["--help"]
    assert not {"RUN", "VOLUME", "HEALTHCHECK"} & told.keys()


# --- the locks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(WANTED))
def test_a_lock_has_what_pyproject_asks_for(name: str) -> None:
    locked = packages(name)
    for line in WANTED[name]:
        requirement = Requirement(line)
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), f"{line}: run make lock"


@pytest.mark.parametrize("name", sorted(WANTED))
def test_a_lock_has_nothing_that_nobody_asks_for(name: str) -> None:
    locked, asked = packages(name), {canonicalize_name(Requirement(line).name) for line in WANTED[name]}
    parts = lock.parts((FOLDER / name).read_text(), name)
    requires = {part.name: set(part.requires) for part in parts}
    reached: set[str] = set(asked)
    new: set[str] = set(asked)
    while new:
        new = set().union(*(requires.get(each, set()) for each in new)) - reached
        reached |= new
    assert locked.keys() == reached
    text = (FOLDER / name).read_text()
    via_us = {line.split("==")[0] for line in text.splitlines() if re.search(r"# via (.*, )?flyball(,|$)", line)}
    assert via_us == asked


def report(**members: Any) -> dict[str, Any]:
    """pip's, of a package whose extra asks for another one, and of that one."""

    def one(name: str, requires: list[str], extras: list[str]) -> dict[str, Any]:
        about = {"name": name, "version": "1.0", "requires_dist": requires}
        info = {"archive_info": {"hashes": {"sha256": name[0].lower() * 64}}}
        return {"metadata": about, "requested_extras": extras, "download_info": info}

    return {
        "environment": {"python_version": "3.11", "platform_machine": "x86_64", "sys_platform": "linux"},
        "install": [
            one("B.b", ["a_a; extra == 'fast'", "c; extra == 'slow'", "d; sys_platform == 'win32'"], ["fast"]),
            one("A_a", [], []),
        ],
        **members,
    }


def test_a_lock_is_sorted_and_says_who_asks() -> None:
    _, *lines = lock.text_of(report(), ["b-b[fast]>=1"]).splitlines()
    assert lines == [
        f"a-a==1.0 --hash=sha256:{'a' * 64}  # via b-b",
        f"b-b==1.0 --hash=sha256:{'b' * 64}  # via flyball",
    ]


def test_another_python_makes_no_lock() -> None:
    environment = {"python_version": "3.13", "platform_machine": "aarch64", "sys_platform": "linux"}
    with pytest.raises(Unsupported, match=r"resolves as python_version 3\.13, platform_machine aarch64"):
        lock.text_of(report(environment=environment), [])


@pytest.mark.parametrize(
    "line",
    ["a==1", "a>=1 --hash=sha256:" + "0" * 64, LINE.replace("0" * 64, "0" * 63), "-r other.txt", "--index-url x"],
)
def test_a_line_that_is_no_package_is_refused(line: str) -> None:
    assert [part.name for part in lock.parts(LINE)] == ["a"]
    with pytest.raises(InvalidArgument, match=r"run\.txt: package 2 is "):
        lock.parts(LINE + line, "run.txt")


# --- the bill of materials --------------------------------------------------------------------------------------------


def test_the_bill_names_every_locked_package_with_its_hash() -> None:
    text = bill(time=TIME)
    assert text == bill(time=TIME)
    made = json.loads(text)
    assert made["metadata"]["component"]["version"] == flyball.__version__
    listed = {
        (each["name"], each["version"], each["hashes"][0]["content"], each["scope"]) for each in made["components"]
    }
    run, build = (lock.parts((FOLDER / name).read_text()) for name in ("run.txt", "build.txt"))
    expected = {(part.name, part.version, part.sha256, "required") for part in run}
    names = {part.name for part in run}
    expected |= {(part.name, part.version, part.sha256, "excluded") for part in build if part.name not in names}
    version, sha256 = RECIPE.partition("FROM debian:")[2].split(" ")[0].split("@sha256:")
    assert listed == expected | {("debian", version, sha256, "required")}
    assert len(run) > 40
    needs = {each["ref"]: each.get("dependsOn", []) for each in made["dependencies"]}
    alembic = next(part for part in run if part.name == "alembic")
    assert [ref.split("@")[0] for ref in needs[f"alembic@{alembic.version}"]] == sorted(alembic.requires) != []


def test_a_recipe_without_a_hash_has_no_bill(tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "container")
    (folder / "Containerfile").write_text(re.sub(r"@sha256:\w+", "", RECIPE))
    with pytest.raises(InvalidArgument, match="no base image with a digest"):
        bill(folder)


def test_the_command_writes_the_bill(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ops.container", "sbom", str(tmp_path / "new" / "bill.json")]
    subprocess.run(command, check=True, cwd=ROOT, timeout=120)
    assert json.loads((tmp_path / "new" / "bill.json").read_text())["bomFormat"] == "CycloneDX"
