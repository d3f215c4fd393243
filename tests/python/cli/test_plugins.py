"""`flyball plugins`: deciding on code, and calling it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flyball.cli import main
from tests.python.plugins.conftest import tool, write_plugin

Run = Callable[..., tuple[int, str, str]]
_CONFIG = '[config]\nunit = "C"\nn = 3\n'


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    body = tool("return [call.arguments, dict(host.config)]")
    write_plugin(tmp_path / "dev", "echo", body, permissions='seconds = 5\nhosts = ["https://a.example"]\n' + _CONFIG)

    def running(*words: str) -> tuple[int, str, str]:
        code = main(["plugins", *words, "--dev-plugins", str(tmp_path / "dev")])
        said = capsys.readouterr()
        return code, said.out, said.err

    return running


def listed(run: Run) -> Any:
    (one,) = json.loads(run("list", "--json")[1])["plugins"]
    return one


def test_a_plugin_is_off_until_it_is_allowed(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("list")
    assert code == 0
    assert "echo" in out
    assert "off" in out
    assert "kept in" in out
    code, _, err = run("run", "echo", "try")
    assert code == 2
    assert "flyball plugins allow echo" in err
    code, out, _ = run("allow", "echo", "--host", "http://localhost:1", "--value", "n=4")
    assert code == 0
    assert "https://a.example, http://localhost:1" in out
    assert listed(run)["decided"]["settings"] == {"hosts": ["http://localhost:1"], "config": {"n": 4}}
    code, out, _ = run("run", "echo", "try", '{"x": "ı"}')
    assert (code, json.loads(out)) == (0, [{"x": "ı"}, {"unit": "C", "n": 4}])
    lines = (tmp_path / ".local/state/flyball/plugins.jsonl").read_text()
    assert "PLUGIN_ALLOWED" in lines
    code, out, _ = run("forbid", "echo")
    assert "is off" in out
    assert run("run", "echo", "try")[0] == 2


def test_changed_code_needs_a_new_decision(run: Run, tmp_path: Path) -> None:
    digest = json.loads(run("show", "echo", "--json")[1])["sha256"]
    assert run("allow", "echo", "--sha256", digest[:12])[0] == 0
    module = tmp_path / "dev" / "echo.py"
    module.write_text(module.read_text() + "\nx = 1\n")
    assert listed(run)["state"] == "changed"
    code, _, err = run("run", "echo", "try")
    assert code == 2
    assert "has changed since it was allowed" in err
    code, _, err = run("allow", "echo", "--sha256", digest)
    assert code == 2
    assert "the plugin's code has" in err
    assert run("allow", "echo")[0] == 0
    assert run("run", "echo", "try")[0] == 0
    module.unlink()
    assert listed(run)["state"] == "not here"


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("allow", "nobody"), "no plugin has this name"),
        (("show", "nobody"), "no plugin has this name"),
        (("forbid", "nobody"), "no plugin of this project has this id"),
        (("allow", "echo", "--host", "a.example"), "must be http://NAME"),
        (("allow", "echo", "--value", "strange=1"), "the keys of echo: n, unit"),
        (("allow", "echo", "--value", "n"), "must be KEY=VALUE"),
        (("allow", "echo", "--value", "n=many"), "must be JSON of the kind 3"),
        (("allow", "echo", "--project", "nowhere"), "no project has this name"),
    ],
)
def test_wrong_decisions_are_refused(run: Run, words: tuple[str, ...], what: str) -> None:
    code, _, err = run(*words)
    assert code == 2
    assert what in err
    assert listed(run)["state"] == "off"


def test_wrong_calls_are_told(run: Run) -> None:
    run("allow", "echo")
    for words, what in (
        (("other",), "is no tool of echo; it has try"),
        (("try", "{"), "are not JSON"),
        (("try", "[1]"), "must be a JSON object"),
    ):
        code, _, err = run("run", "echo", *words)
        assert code == 2
        assert what in err


def test_a_wrong_manifest_is_told_with_its_place(run: Run, tmp_path: Path) -> None:
    (tmp_path / "dev" / "echo.toml").write_text('name = "echo"')
    code, out, err = run("list")
    assert code == 0
    assert "There are no plugins" in out
    assert "echo.toml: api is None, this Flyball has 1" in err
