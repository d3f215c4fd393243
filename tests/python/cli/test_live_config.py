"""`flyball config --server`: a running server's settings, from a terminal."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from flyball.cli import main
from tests.python.serve.conftest import Running, Start, start  # noqa: F401 - the fixture

KEY = "correct-horse-battery"


@pytest.fixture(scope="module")
def server(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Running:  # noqa: F811
    return start("--ctx", "256", key=KEY, home=tmp_path_factory.mktemp("home"))


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYBALL_API_KEY", KEY)


def test_settings_are_shown_and_changed(server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*words: str, code: int = 0) -> str:
        assert main(["config", "--server", server.url, *words]) == code
        shown = capsys.readouterr()
        return shown.out if code == 0 else shown.err

    shown = said()
    assert "serve.parallel = 64" in shown
    assert "restart: the server listens there from its start" in shown
    change = ("--set", "serve.parallel=3", "--set", "serve.allowed_hosts=a b")
    dry = said(*change, "--set", "serve.port=1", "--dry-run")
    assert "serve.parallel: 64 -> 3  # live\n" in dry
    assert "serve.port: stays, the server listens there from its start\n" in dry
    assert "nothing is changed; it is at revision 0\n" in dry
    changed = said(*change, "--reason", "a smaller machine")
    assert "the server is at revision 1, and watched for 30 s\n" in changed
    assert server.get("/v1/status").json()["settings_revision"] == 1
    assert "a running server keeps serve.port" in said("--set", "serve.port=1", code=2)
    assert "must be an integer" in said("--set", "serve.parallel=many", code=2)
    assert 'serve.allowed_hosts: "a b" -> ""' in said("--unset", "serve.allowed_hosts")
    told = json.loads(said("--rollback", "1", "--json"))
    assert (told["revision"], told["changes"]["serve.allowed_hosts"]["now"]) == (3, "a b")
    latest = json.loads(said("--json"))["revisions"]
    assert [(each["revision"], each["why"]) for each in latest] == [(3, ""), (2, ""), (1, "a smaller machine")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--server", "ftp://127.0.0.1"], "must be as http"),
        (["--server", "http://user:pass@127.0.0.1"], "must be as http"),
        (["--server", "http://127.0.0.1:99999"], "no address"),
        (["--server", "http://127.0.0.1:1"], "does not answer"),
        (["--dry-run"], "--server"),
        (["--server", "URL", "--dry-run"], "give one of them"),
        (["--server", "URL", "--set", "serve.parallel"], "KEY=VALUE"),
        (["--server", "URL", "--rollback", "1", "--set", "max_tokens=1"], "a whole revision"),
        (["--server", "URL", "--unset", "serve.new"], "no configuration key"),
    ],
)
def test_wrong_use(server: Running, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert main(["config", *[word.replace("URL", server.url) for word in words]]) == 2
    assert said in capsys.readouterr().err


def test_without_its_key(server: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FLYBALL_API_KEY", "another-long-key")
    assert main(["config", "--server", server.url]) == 2
    assert "refused (401)" in capsys.readouterr().err


class _Other(BaseHTTPRequestHandler):
    """Some other program, which sends elsewhere, or says what it likes."""

    asked: list[str] = []  # noqa: RUF012 - of all of them

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(302 if self.path.startswith("/moved") else 200)
        self.send_header("location", "/stolen")
        self.end_headers()
        self.wfile.write(b'{"object": "list", "data": "\x1b[2J"}')

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def other() -> Iterator[str]:
    made = HTTPServer(("127.0.0.1", 0), _Other)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.mark.parametrize("path", ["", "/moved"])
def test_what_is_no_server_of_flyball(
    other: str, path: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["config", "--server", other + path]) == 2
    shown = capsys.readouterr()
    assert "is it a server of Flyball?" in shown.err
    assert "\x1b" not in shown.err + shown.out
    assert "/stolen" not in _Other.asked
