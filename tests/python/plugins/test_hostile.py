"""Plugins that mean harm: each costs an error message, behind every wall, and nothing of it stays."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from flyball.errors import Unavailable
from flyball.plugins.pool import MOST_FAILURES, Pool
from flyball.plugins.process import MOST_LINE, Allowed, PluginError

from .conftest import allowed, call, run, tool, wall_of, write_plugin

WALLS = ("bubblewrap", "none", "namespaces")
# Behind every wall; the rest behind the best one. The third wall is the process's own seal alone.
_EVERYWHERE = ("fork_bomb", "ten_gigabytes", "reads_shadow", "connects_out", "kills_others", "leaves_its_group")
# What it does, and what the error says.
HOSTILE = {
    "fork_bomb": (tool("import os\nwhile True:\n    os.fork()"), "PermissionError"),
    "starts_programs": (tool("import subprocess\nreturn subprocess.run(['/bin/sh', '-c', 'id'])"), "PermissionError"),
    "endless_loop": (tool("while True:\n    pass"), "took longer than 1 seconds"),
    "ignores_signals": (
        tool(
            """
            import signal, time
            for each in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
                signal.signal(each, signal.SIG_IGN)
            while True:
                time.sleep(0.1)
            """
        ),
        "took longer than 1 seconds",
    ),
    "swallows_all": (
        tool("while True:\n    try:\n        while True: pass\n    except BaseException: pass"),
        "took longer",
    ),
    "ten_gigabytes": (tool("return len(bytearray(10 << 30))"), "MemoryError"),
    "eats_memory": (tool("held = []\nwhile True:\n    held.append(bytearray(1 << 20))"), "MemoryError|took longer"),
    "reads_shadow": (tool("return open('/etc/shadow').read()"), r"PermissionError|FileNotFoundError"),
    "reads_home": (
        tool("import os\nreturn os.listdir('/root') + os.listdir('/home')"),
        r"PermissionError|FileNotFound",
    ),
    "writes": (tool("open('/tmp/flyball-was-here', 'w').write('x')"), r"PermissionError|Read-only|FileNotFound"),
    "connects_out": (tool("import socket\nsocket.create_connection(('1.1.1.1', 80), 2)"), "PermissionError"),
    "connects_here": (tool("import socket\nsocket.create_connection(('127.0.0.1', 22), 2)"), "PermissionError"),
    "kills_others": (tool("import os\nos.kill(1, 9)"), "PermissionError"),
    "kills_its_group": (tool("import os\nos.killpg(0, 9)"), "PermissionError"),
    "leaves_its_group": (tool("import os\nos.setsid()"), "PermissionError"),
    "prints_much": (tool("while True:\n    print('x' * 65536)"), "OSError"),
    "prints_to_the_protocol": (
        tool(
            """
            import os
            for descriptor in range(3, 64):
                try:
                    os.write(descriptor, b'{"id": 1, "result": 1, "more": 2}\\n')
                except OSError:
                    pass
            """
        ),
        "answers nothing",
    ),
    "writes_no_json": (
        tool("import os, sys\nos.write(int(sys.argv[1]), b'hello\\n')\nreturn 1"),
        "sent a line that is no JSON",
    ),
    "closes_the_pipe": (tool("import os\nos.closerange(0, 64)\nwhile True: pass"), "closed its connection|took longer"),
    "exits": (tool("import os\nos._exit(7)"), "ended with code 7"),
    "crashes": (tool("import ctypes\nctypes.string_at(8)"), "ended with code"),
    "returns_a_gigabyte": (tool("return 'x' * (1 << 30)"), "MemoryError"),
    "returns_ten_megabytes": (tool("return 'x' * (10 << 20)"), f"more than {MOST_LINE >> 10} KiB"),
    "returns_too_much": (tool("return 'x' * 100_000"), "has at most"),
    "returns_no_json": (tool("return {1, 2}"), "TypeError"),
    "returns_nan": (tool("return float('nan')"), "ValueError"),
    "sends_a_line_without_end": (
        tool("import os, sys\nwhile True:\n    os.write(int(sys.argv[1]), b'[' * 65536)"),
        f"more than {MOST_LINE >> 10} KiB",
    ),
    "sends_deep_json": (
        tool("import os, sys\nos.write(int(sys.argv[1]), b'[' * 100_000 + b']' * 100_000 + b'\\n')\nreturn 1"),
        r"is no JSON|nested deeper",
    ),
    "returns_deep": (tool("v = []\nfor _ in range(40):\n    v = [v]\nreturn v"), "nested deeper"),
    "fetches_forever": (
        tool("while True:\n    try: host.fetch('http://example.com/')\n    except ToolError: pass"),
        "more than 16 fetches",
    ),
    "raises": (tool("raise KeyError('\\x1b[31m')"), r"KeyError: '\\x1b"),
    "raises_what_has_no_text": (
        tool("class E(Exception):\n    def __str__(self): raise self\nraise E"),
        "E",
    ),
    "hangs_at_import": ("while True: pass", "was not ready"),
    "raises_at_import": ("raise RuntimeError('no')", "did not load: RuntimeError: no"),
    "exits_at_import": ("import os; os._exit(3)", "ended with code 3"),
    "has_no_hook": ("x = 1", "no flyball_call_tool is there"),
    "has_a_strange_hook": (tool("return 1") + "@hookimpl\ndef flyball_rule_all(x): pass", "unknown hook"),
    "speaks_before_it_is_asked": (
        'import os, sys\nos.write(int(sys.argv[1]), b\'{"id": 1, "result": 1}\\n\')\n' + tool("return 1"),
        "began with another line",
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    for name, (body, error) in HOSTILE.items():
        write_plugin(folder, name, body, permissions=f"seconds = {1 if 'took longer' in error else 60}")
    return folder


@pytest.mark.parametrize(("name", "wall"), [(n, w) for w in WALLS for n in (HOSTILE if w == WALLS[0] else _EVERYWHERE)])
def test_harm_is_an_error(folder: Path, name: str, wall: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "was not ready" in HOSTILE[name][1]:
        monkeypatch.setattr("flyball.plugins.process._START_SECONDS", 2.0)
    with pytest.raises(PluginError, match=HOSTILE[name][1]):
        call(allowed(folder, name), wall_of(wall))
    assert not processes_of("flyball-plugin-")
    assert not Path("/tmp/flyball-was-here").exists()


def processes_of(text: str) -> list[str]:
    """The command lines of running processes that this process has started, with this text."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = each.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line and f" {os.getpid()} " in line:
            found.append(line)
    return found


def test_an_idle_plugin_does_nothing(tmp_path: Path) -> None:
    """Between calls its process is stopped, threads and all."""
    body = """
import threading, time
n = 0
def work():
    global n
    while True:
        n += 1
        time.sleep(0.001)
threading.Thread(target=work, daemon=True).start()
"""
    write_plugin(tmp_path, "busy", body + tool("return n"))
    plugin = allowed(tmp_path, "busy")
    value = {"tool": "try", "arguments": {}}

    async def use(pool: Pool) -> tuple[int, int]:
        import asyncio

        before = int(await pool.call("p", plugin, "tools", value))
        await asyncio.sleep(1)
        return before, int(await pool.call("p", plugin, "tools", value))

    before, after = run(use)
    assert after - before < 300  # of about 900 that a second has


def test_no_secret_reaches_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYBALL_API_KEY", "secret-of-the-server")
    body = "import os, sys\nreturn {'env': dict(os.environ), 'words': sys.argv[2:], }"
    write_plugin(tmp_path, "curious", tool(body))
    for wall in WALLS:
        said = call(allowed(tmp_path, "curious"), wall_of(wall))
        assert "secret" not in said
        assert '"words": []' in said


def test_one_project_sees_nothing_of_another(tmp_path: Path) -> None:
    write_plugin(tmp_path, "keeper", "kept = []\n" + tool("kept.append(call.arguments['x'])\nreturn kept"))
    plugin = allowed(tmp_path, "keeper")

    async def use(pool: Pool) -> list[str]:
        asked = (("ada", 1), ("bob", 2), ("ada", 3))
        return [await pool.call(p, plugin, "tools", {"tool": "try", "arguments": {"x": x}}) for p, x in asked]

    assert run(use) == ["[1]", "[2]", "[1, 3]"]


def test_three_failures_in_a_row_are_the_last(tmp_path: Path) -> None:
    write_plugin(tmp_path, "bad", tool("assert call.arguments['good']\nreturn 'fine'"))
    plugin = allowed(tmp_path, "bad")
    told: list[int] = []

    async def use(pool: Pool) -> None:
        async def ask(good: bool, plugin: Allowed = plugin) -> str:
            return str(await pool.call("p", plugin, "tools", {"tool": "try", "arguments": {"good": good}}))

        for good in (False, False, True, *[False] * MOST_FAILURES):  # a success between begins the count again
            if good:
                assert await ask(True) == "fine"
            else:
                with pytest.raises(PluginError, match="AssertionError"):
                    await ask(False)
        with pytest.raises(Unavailable, match="quarantine"):
            await ask(True)
        assert await ask(True, Allowed(plugin.plugin, since=1)) == "fine"  # a person has allowed it again

    run(use, on_failed=lambda *failure: told.append(failure[3]))
    assert told == [1, 2, 1, 2, 3]


def test_whoever_leaves_ends_the_call(tmp_path: Path) -> None:
    """Its answer must not be the next one's."""
    write_plugin(tmp_path, "slow", tool("import time\ntime.sleep(call.arguments['s'])\nreturn call.arguments['s']"))
    plugin = allowed(tmp_path, "slow")

    async def use(pool: Pool) -> str:
        import asyncio

        asked = asyncio.create_task(pool.call("p", plugin, "tools", {"tool": "try", "arguments": {"s": 3}}))
        await asyncio.sleep(1)
        asked.cancel()
        began = time.monotonic()
        said = str(await pool.call("p", plugin, "tools", {"tool": "try", "arguments": {"s": 0}}))
        assert time.monotonic() - began < 2.5
        return said

    assert run(use) == "0"


def test_idle_processes_are_ended_and_few_run_at_once(tmp_path: Path) -> None:
    write_plugin(tmp_path, "mild", tool("return 'fine'"))
    plugin = allowed(tmp_path, "mild")
    value = {"tool": "try", "arguments": {}}

    async def use(pool: Pool) -> None:
        for n in range(10):
            await pool.call(f"p{n}", plugin, "tools", value)
        assert sum(place.process is not None for place in pool._places.values()) == 8
        await pool.tidy()
        assert not any(place.process for place in pool._places.values())
        assert await pool.call("p0", plugin, "tools", value) == "fine"

    run(use, idle_seconds=0)
