"""Releases: archives with the same bytes, checksums, the bill of materials, and verdicts that name what is wrong.

FLYBALL_RELEASE=1 also makes one, from a checkout without changes: about ten minutes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import pytest

from flyball.evidence.gates import Outcome
from flyball.reliability.context import PROFILES, Context
from flyball.reliability.results import StageResult
from flyball.reliability.stages import release as stage
from ops.release import archives, release, sbom
from ops.release.commands import Commands

TIME = 1795290780
FILES = {"flyball.whl": b"wheel" * 5000, "licenses/pybind11.txt": b"", "LICENSE": b"Apache", "B": b"b", "a": b"a"}


def write(folder: Path, files: dict[str, bytes], seed: int) -> Path:
    """The files, created in an order of their own, with modes and times of their own."""
    rng = Random(seed)
    for name in rng.sample(sorted(files), len(files)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[name])
        path.chmod(rng.choice([0o600, 0o644, 0o755]))
        os.utime(path, (rng.randrange(1 << 30), rng.randrange(1 << 30)))
    return folder


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, contents in files.items():
            archive.writestr(zipfile.ZipInfo(name), contents)
    return path


def repository(folder: Path) -> Path:
    """A checkout with one commit."""
    package = folder / "python/flyball"
    package.mkdir(parents=True)
    (package / "module.py").write_text("")
    shutil.copy(Path(__file__).parents[2] / "pyproject.toml", folder)
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "first", "--date", f"@{TIME} +0000"]):
        subprocess.run([*git, *words], check=True, env=os.environ | {"GIT_COMMITTER_DATE": f"@{TIME} +0000"})
    return folder


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path / "log.txt")


def run(folder: Path) -> StageResult:
    made = folder / "runs/one"
    made.mkdir(parents=True)
    return stage.run(Context("one", made, folder, PROFILES["release"]))


# --- archives ---------------------------------------------------------------------------------------------------------


def test_a_bundle_has_the_bytes_of_its_contents_alone(tmp_path: Path) -> None:
    for n in (1, 2):
        folder = write(tmp_path / f"build {n}" / "flyball-1-release", FILES, n)
        archives.pack(tmp_path / f"{n}.tar.gz", folder, TIME)
    assert (tmp_path / "1.tar.gz").read_bytes() == (tmp_path / "2.tar.gz").read_bytes()
    with tarfile.open(tmp_path / "1.tar.gz") as tar:
        members = tar.getmembers()
        assert [m.name for m in members] == [f"flyball-1-release/{name}" for name in sorted(FILES)]
        assert {(m.mode, m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0o644, TIME, 0, 0, "", "")}


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_changed_byte_is_named(tmp_path: Path, kind: str) -> None:
    """By the archive and its member."""
    for n, changed in ((1, {}), (2, {"flyball.whl": FILES["flyball.whl"][:-1] + b"L"})):
        made = tmp_path / str(n)
        if kind == "zip":
            zipped(made / "flyball.zip", FILES | changed)
        else:
            folder = write(tmp_path / f"of {n}/flyball", FILES | changed, n)
            made.mkdir()
            archives.pack(made / "flyball.tar.gz", folder, TIME)
    prefix = "flyball/" if kind == "tar.gz" else ""
    assert archives.differences(tmp_path / "1", tmp_path / "2") == [f"flyball.{kind}: {prefix}flyball.whl"]
    with pytest.raises(release._Ended) as ended:
        release.compare(tmp_path / "1", tmp_path / "2")
    assert ended.value.verdict.reason_id == "RELEASE_DIFFERS"
    assert "flyball.whl" in ended.value.verdict.message


def test_what_only_lists_a_change_is_no_cause(tmp_path: Path) -> None:
    record = "flyball-1.dist-info/RECORD"
    for n in (b"1", b"2"):
        zipped(tmp_path / n.decode() / "a.whl", {record: n, "core.so": n})
        zipped(tmp_path / n.decode() / "b.whl", {record: n, "core.so": b""})
    assert archives.differences(tmp_path / "1", tmp_path / "2") == ["a.whl: core.so", f"b.whl: {record}"]


def test_builds_that_agree_in_all_members_are_still_told_apart(tmp_path: Path) -> None:
    zipped(tmp_path / "1/a.whl", FILES)
    zipped(tmp_path / "2/a.whl", dict(reversed(FILES.items())))
    (tmp_path / "1/flyball.efi").write_bytes(b"MZ 1")
    (tmp_path / "2/flyball.efi").write_bytes(b"MZ 2")
    (tmp_path / "2/flyball.img").write_bytes(b"")
    assert archives.differences(tmp_path / "1", tmp_path / "2") == [
        "flyball.img, which only one build has",
        "a.whl: order, times or modes of its members",
        "flyball.efi",
    ]
    assert archives.differences(tmp_path / "1", tmp_path / "1") == []


def test_checksums_are_what_sha256sum_reads_and_find_every_change(tmp_path: Path) -> None:
    folder = write(tmp_path / "bundle", FILES, 1)
    archives.write_sums(folder)
    assert archives.check_sums(folder) == []
    done = subprocess.run(["sha256sum", "-c", "--quiet", archives.SUMS], cwd=folder, check=False)
    assert done.returncode == 0
    (folder / "a").write_bytes(b"A")
    (folder / "B").unlink()
    (folder / "licenses/more.txt").write_text("")
    assert archives.check_sums(folder) == [
        "B is missing",
        "a has other bytes",
        "licenses/more.txt has no line in SHA256SUMS",
    ]
    (folder / archives.SUMS).unlink()
    assert archives.check_sums(folder) == ["SHA256SUMS cannot be read: No such file or directory"]


def test_a_bundle_is_checked_as_it_was_extracted(tmp_path: Path, commands: Commands) -> None:
    folder = write(tmp_path / "flyball-1-release", FILES, 1)
    archives.write_sums(folder)
    archives.pack(tmp_path / "flyball-1-release.tar.gz", folder, TIME)
    release.check_bundle(commands, tmp_path / "flyball-1-release.tar.gz", tmp_path / "good")
    (folder / "LICENSE").write_bytes(b"none")
    archives.pack(tmp_path / "flyball-1-release.tar.gz", folder, TIME)
    with pytest.raises(release._Ended, match="LICENSE has other bytes"):
        release.check_bundle(commands, tmp_path / "flyball-1-release.tar.gz", tmp_path / "bad")
    (tmp_path / "flyball-1-release.tar.gz").write_bytes(b"no archive")
    with pytest.raises(release._Ended, match="tar: "):
        release.check_bundle(commands, tmp_path / "flyball-1-release.tar.gz", tmp_path / "none")


def test_a_wheel_that_lacks_something_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "source"
    files = dict.fromkeys(
        ("flyball/__init__.py", "flyball/data/flyball-demo.gguf", "flyball_command/__init__.py"), b"x"
    )
    write(source / "python", files, 1)
    built = {
        "flyball/_core.cpython-311-x86_64-linux-gnu.so": b"",
        "flyball-0.1.0.dist-info/entry_points.txt": b"",
        "flyball-0.1.0.dist-info/licenses/LICENSE": b"",
        "flyball-0.1.0.data/scripts/flyball-repl": b"",
        "flyball-0.1.0.data/scripts/flyball-native": b"",
    }
    release.check_wheel(zipped(tmp_path / "whole.whl", files | built), source)
    for name in files | built:
        others = {other: contents for other, contents in (files | built).items() if other != name}
        with pytest.raises(release._Ended, match="lacks") as ended:
            release.check_wheel(zipped(tmp_path / "part.whl", others), source)
        assert ended.value.verdict.reason_id == "RELEASE_BROKEN"
        assert len(ended.value.verdict.evidence["lacking"]) == 1


# --- the bill of materials --------------------------------------------------------------------------------------------

REPORT = {
    "install": [
        {
            "metadata": {
                "name": "Jinja2",
                "version": "3.1.6",
                "requires_dist": ["MarkupSafe>=2.0", 'Babel>=2.7; extra == "i18n"'],
                "license_expression": "BSD-3-Clause",
            },
            "download_info": {"archive_info": {"hashes": {"sha256": "ab" * 32}}},
        },
        {"metadata": {"name": "MarkupSafe", "version": "3.0.4"}, "download_info": {"url": "file:///x"}},
    ]
}


def bill(parts: list[sbom.Part]) -> str:
    product = sbom.Part("flyball", "0.1.0", "application", "cd" * 32, "Apache-2.0", ("jinja2", "flyball-demo"), True)
    return sbom.document(product, parts, TIME)


def test_the_bill_of_materials_keeps_to_its_schema_and_names_all() -> None:
    parts = [
        *sbom.resolved(REPORT).values(),
        sbom.Part("flyball-demo", "0.1.0", "machine-learning-model", "ef" * 32, "Apache-2.0"),
        *sbom.frozen("pybind11==3.1.0\nscikit_build_core==1.1.2\n", compiled_in=["pybind11"]),
    ]
    text = bill(parts)
    assert sbom.fault(text) == ""
    assert bill(parts[::-1]) == text
    found = json.loads(text)
    assert (found["bomFormat"], found["specVersion"], found["version"]) == ("CycloneDX", "1.6", 1)
    assert found["metadata"]["timestamp"] == "2026-11-21T19:53:00+00:00"
    components = {component["name"]: component for component in found["components"]}
    assert components["jinja2"]["purl"] == "pkg:pypi/jinja2@3.1.6"
    assert components["jinja2"]["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    assert components["flyball-demo"]["hashes"] == [{"alg": "SHA-256", "content": "ef" * 32}]
    assert {name: component["scope"] for name, component in components.items()} == {
        "jinja2": "required",
        "markupsafe": "required",
        "flyball-demo": "required",
        "pybind11": "required",
        "scikit-build-core": "excluded",
    }
    edges = {edge["ref"]: edge.get("dependsOn", []) for edge in found["dependencies"]}
    assert edges["flyball@0.1.0"] == ["flyball-demo@0.1.0", "jinja2@3.1.6"]
    assert edges["jinja2@3.1.6"] == ["markupsafe@3.0.4"]


def test_a_bill_of_materials_of_other_parts_has_another_serial_number() -> None:
    numbers = {json.loads(bill([sbom.Part("jinja2", version)]))["serialNumber"] for version in ("3.1.5", "3.1.6")}
    assert len(numbers) == 2


@pytest.mark.parametrize(
    ("path", "value"),
    [(("specVersion",), None), (("components", 0, "hashes", 0, "alg"), "SHA-0"), (("components", 0, "type"), "engine")],
)
def test_a_bill_of_materials_that_breaks_its_schema_is_found(path: tuple[Any, ...], value: object) -> None:
    document = json.loads(bill(list(sbom.resolved(REPORT).values())))
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert sbom.fault(json.dumps(document))


# --- what cannot be told ----------------------------------------------------------------------------------------------


def test_a_commit_is_found_and_changes_are_refused(tmp_path: Path, commands: Commands) -> None:
    checkout = repository(tmp_path / "checkout")
    root = checkout / "artifacts/reliability"
    root.mkdir(parents=True)
    (root / "history.jsonl").write_text("what runs leave is no change")
    commit = release.find_commit(commands, checkout, root)
    assert (commit.checkout, len(commit.id), commit.time) == (tmp_path / "checkout", 40, TIME)
    (checkout / "python/flyball/module.py").write_text("changed")
    (checkout / "python/flyball/new.py").write_text("new")
    with pytest.raises(release._Ended) as ended:
        release.find_commit(commands, checkout, root)
    verdict = ended.value.verdict
    assert (verdict.outcome, verdict.reason_id) == (Outcome.INCONCLUSIVE, "PREFLIGHT_MISSING")
    assert verdict.message == "python/flyball/module.py and 1 more is not committed"
    assert "git stash" in verdict.hint


def test_without_sources_it_cannot_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "site-packages/flyball"
    monkeypatch.setattr(stage, "__file__", str(installed / "reliability/stages/release.py"))
    verdict = run(tmp_path).verdict
    assert (verdict.outcome, verdict.reason_id) == (Outcome.INCONCLUSIVE, "PREFLIGHT_MISSING")
    assert verdict.message == f"{installed} is not in a checkout of the sources"
    assert verdict.hint


def test_without_git_or_an_index_it_cannot_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(name: str) -> tuple[Outcome, str, str]:
        verdict, values = release.make(tmp_path / name, tmp_path, checkout)
        assert verdict.hint
        assert "bundle" not in values
        return verdict.outcome, verdict.reason_id, verdict.message

    checkout = repository(tmp_path / "checkout")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    outcome, reason, message = told("1")
    assert (outcome, reason) == (Outcome.INCONCLUSIVE, "PREFLIGHT_MISSING")
    assert message.startswith("pip: ERROR: Could not find a version")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert told("2") == (Outcome.INCONCLUSIVE, "PREFLIGHT_MISSING", "git is not installed")


def test_the_stage_takes_the_verdict_of_the_checkouts_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = run(tmp_path)
    assert (result.verdict.outcome, result.verdict.message) == (Outcome.INCONCLUSIVE, "git is not installed")
    assert (tmp_path / "runs/one/release/work").is_dir()


def test_a_command_ends_at_its_time_limit_with_all_that_it_has_started(tmp_path: Path, commands: Commands) -> None:
    parent = "sleep 1000 & echo $! > child; wait"
    done = commands(["sh", "-c", parent], 1, folder=tmp_path)
    assert not done.well
    assert done.why == "timeout after 1 s"
    status = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/status")
    for _ in range(10000):  # killed is not yet gone
        if not status.exists() or "State:\tZ" in status.read_text():
            return
        time.sleep(0.01)
    pytest.fail("a process of the command is still there")


def test_a_command_tells_its_cause_and_is_logged(
    tmp_path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXXFLAGS", "-Og")
    script = "import os; print(os.environ.get('CXXFLAGS')); print('x.cpp:1: error: no'); print('stopped'); exit(3)"
    done = commands([sys.executable, "-c", script])
    assert not done.well
    assert done.why == "x.cpp:1: error: no"
    assert done.output.startswith("None\n")
    assert commands(["false"]).why == "exit code 1"
    assert commands([tmp_path / "none"]).why.endswith("none: No such file or directory")
    assert "stopped" in (tmp_path / "log.txt").read_text()


# --- all of it --------------------------------------------------------------------------------------------------------


def all_of_it(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.verdict.outcome is Outcome.PASS, result.verdict
    folder = tmp_path / "runs/one/release"
    packed = folder / result.values["bundle"]
    assert not (folder / "work").exists()
    subprocess.run(["tar", "-xzf", packed, "-C", tmp_path], check=True)
    bundle = tmp_path / packed.name.removesuffix(".tar.gz")
    subprocess.run(["sha256sum", "-c", "--quiet", archives.SUMS], cwd=bundle, check=True)
    assert sbom.fault((bundle / "sbom.cdx.json").read_text()) == ""
    assert {"LICENSE", "flyball.efi", "flyball.img"} <= {file.name for file in bundle.iterdir()}


if os.environ.get("FLYBALL_RELEASE"):  # two builds take minutes
    test_a_release = all_of_it
