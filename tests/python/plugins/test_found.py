"""Finding plugins: by entry points and in a folder, without importing any; and what their digest is of."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from flyball.errors import NotFound
from flyball.plugins import found

from .conftest import EXAMPLES, tool, write_plugin


def install(site: Path, name: str, points: str) -> None:
    about = site / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[flyball.plugins]\n{points}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_entry_points_are_found_and_nothing_is_imported(site: Path) -> None:
    """Modules, modules of packages, and packages; each would end the test if it were run."""
    end = "import os; os._exit(1)"
    write_plugin(site, "single_plugin", end)
    package = site / "big_plugin"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text(end)
    (package / "inner" / "data.txt").write_text("data")
    write_plugin(site, "plugin", end)
    (site / "plugin.py").rename(package / "hooks.py")
    (site / "plugin.toml").rename(package / "plugin.toml")
    install(site, "tests_single", "x = single_plugin")
    install(site, "tests_big", "y = big_plugin.hooks:Hooks")
    there = found.find()
    assert not there.faults
    single, big = there.plugins["single_plugin"], there.plugins["plugin"]
    assert sorted(single.code) == ["single_plugin.py", "single_plugin.toml"]
    assert sorted(big.code) == [
        *("big_plugin/__init__.py", "big_plugin/hooks.py", "big_plugin/inner/data.txt", "big_plugin/plugin.toml"),
    ]
    assert (single.object, big.object) == ("single_plugin", "big_plugin.hooks:Hooks")
    assert big.origin == "tests_big 1.0"
    assert not {"single_plugin", "big_plugin", "big_plugin.hooks"} & set(sys.modules)


def test_what_cannot_be_used_is_told_and_the_rest_is_found(site: Path, tmp_path: Path) -> None:
    write_plugin(site, "good_plugin", "")
    (site / "bare_plugin.py").write_text("")
    write_plugin(site, "wrong_plugin", "")
    (site / "wrong_plugin.toml").write_text("name = 1")
    points = "a = good_plugin\nb = bare_plugin\nc = wrong_plugin\nd = nowhere_plugin\ne = sys"
    install(site, "tests_some", points)
    there = found.find()
    assert list(there.plugins) == ["good_plugin"]
    told = [str(fault) for fault in there.faults]
    for what in ("no manifest", "wrong_plugin.toml: api is", "no module nowhere_plugin", "no module sys"):
        assert any(what in each for each in told), (what, told)
    folder = tmp_path / "dev"
    write_plugin(folder, "good_plugin", "")
    assert "is that of tests_some 1.0" in str(found.find(folder).faults[-1])


def test_a_folder_gives_files_with_a_manifest_alone(tmp_path: Path) -> None:
    write_plugin(tmp_path / "dev", "one", tool("return 1"))
    (tmp_path / "dev" / "other.py").write_text("")
    (tmp_path / "dev" / "lonely.toml").write_text("")
    there = found.find(tmp_path / "dev")
    assert (list(there.plugins), there.faults) == (["one"], ())
    assert not there.plugins["one"].is_installed
    with pytest.raises(NotFound, match="is no folder"):
        found.find(tmp_path / "nowhere")


def test_the_digest_is_of_code_and_manifest(tmp_path: Path) -> None:
    module = write_plugin(tmp_path, "one", tool("return 1"))

    def digest() -> str:
        return found.find(tmp_path).plugins["one"].sha256

    first = digest()
    assert digest() == first
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "one.pyc").write_bytes(b"x")
    assert digest() == first
    for path in (module, module.with_suffix(".toml")):
        before = path.read_text()
        path.write_text(before + "\n")
        assert digest() != first
        path.write_text(before)
    assert digest() == first
    # Names and contents have lengths: no two sets of files are one text.
    assert found.digest_of({"a": b"bc"}) != found.digest_of({"ab": b"c"})


def test_the_example_is_a_plugin() -> None:
    assert list(found.find(EXAMPLES).plugins) == ["weather"]
    assert found.find(EXAMPLES).faults == ()
