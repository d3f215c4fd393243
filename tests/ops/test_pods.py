"""The chart's pods, run as Kubernetes would run them: with its arguments and variables, as nobody, without a
capability, on a root that cannot be written, and with no network but their own.

No cluster is needed: bubblewrap gives the same confinement. The pods share a loopback, on which the replicas' name is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.python.serve.programs import program

from .helm import NAMESPACE, rendered

ROOT = Path(__file__).parents[2]
CHART = ROOT / "ops" / "chart" / "flyball"
KEY = "a-key-of-the-tests"
WAIT = 360  # seconds, for neighbors that take the processors

# Runs inside: starts the pods of argv[1], waits until they are ready, asks the edge, and ends them as a pod is ended.
INSIDE = """
import json, os, subprocess, sys, time, urllib.error, urllib.request

def get(url, body=None, **headers):
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None, headers)
    request.add_header("content-type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)

def writable(path):
    try:
        open(path, "w").close()
    except OSError as error:
        return error.strerror
    os.remove(path)
    return "written"

pods, told = json.loads(sys.argv[1]), {}
running = [
    subprocess.Popen([sys.executable, "-m", "flyball", *pod["args"]], env=os.environ | pod["env"], cwd=pod["cwd"])
    for pod in pods
]
for pod in pods:
    at = f"http://127.0.0.1:{pod['port']}"
    while (state := [get(at + path)[0] for path in pod["probes"]]) != [200] * len(state):
        assert all(process.poll() is None for process in running), "a pod has ended"
        time.sleep(0.2)
key = {"authorization": "Bearer " + sys.argv[2]}
question = {"prompt": "Once upon a time", "max_tokens": 8, "seed": 1}
ask = "http://127.0.0.1:8090/v1/completions"
told["answer"] = get(ask, question, **key, host="release-flyball-edge")
told["direct"] = get("http://127.0.0.1:8080/v1/completions", question, **key, host="10.1.2.3:8080")
told["no key"] = get(ask, question)[0]
told["other host"] = get(ask, question, **key, host="attacker.example")[0]
told["metrics"] = get("http://127.0.0.1:8090/metrics", **key)[1]
told["who"] = [os.getuid(), os.getgid()]
told["writes"] = {path: writable(path + "/probe") for path in ("/", "/usr", "/etc", "/state", "/tmp", "/models")}
for process in reversed(running):
    process.terminate()
told["exits"] = [process.wait(60) for process in running]
told["state"] = sorted(os.path.join(folder, name) for folder, _, names in os.walk("/state") for name in names)
print("TOLD" + json.dumps(told))
"""


def pod(chart: dict[str, Any], kind: str) -> dict[str, Any]:
    """A pod's container: what INSIDE needs of it."""
    (found,) = [each for each in chart["documents"] if each["kind"] == kind]
    (container,) = found["spec"]["template"]["spec"]["containers"]
    known = {"secretKeyRef": KEY, "fieldRef": f"{found['metadata']['name']}-0"}
    return {
        "args": container["args"],
        "env": {
            each["name"]: each["value"] if "value" in each else known[next(iter(each["valueFrom"]))]
            for each in container["env"]
        },
        "cwd": container["workingDir"],
        "port": container["ports"][0]["containerPort"],
        "probes": [container[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")],
    }


def confined(folder: Path, *command: str) -> list[str]:
    """A command with the machine's folders to read, and /state and /tmp to write."""
    hosts = folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost release-flyball-replicas.{NAMESPACE}.svc\n")
    words = [program("bwrap", "bubblewrap"), "--tmpfs", "/"]
    for path in sorted(Path("/").iterdir()):
        if path.is_symlink():
            words += ["--symlink", os.readlink(path), str(path)]
        elif path.name not in ("proc", "dev", "sys", "tmp", "state", "models"):
            words += ["--ro-bind", str(path), str(path)]
    words += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/state", "--dir", "/models"]
    for path in {ROOT, Path(sys.prefix).resolve()}:  # which may lie in /tmp
        words += ["--ro-bind", str(path), str(path)]
    words += ["--ro-bind", str(hosts), "/etc/hosts", "--remount-ro", "/", "--clearenv", "--chdir", "/tmp"]
    words += ["--unshare-all", "--uid", "65532", "--gid", "65532", "--cap-drop", "ALL", "--die-with-parent"]
    return [*words, *command]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What INSIDE found."""
    (chart,) = rendered((CHART, {"edge": {"verify": 1}, "settings": {"threads": 1}}))
    pods = json.dumps([pod(chart, "StatefulSet"), pod(chart, "Deployment")])
    command = confined(tmp_path_factory.mktemp("pods"), sys.executable, "-c", INSIDE, pods, KEY)
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.partition("TOLD")[2])
    return found


def test_the_edge_gives_the_replicas_answer(told: dict[str, Any]) -> None:
    (status, text), (direct_status, direct) = told["answer"], told["direct"]
    assert (status, direct_status) == (200, 200), (text, direct)
    assert json.loads(text)["flyball"]["digest"] == json.loads(direct)["flyball"]["digest"]
    assert 'flyball_edge_replicas{state="ready"} 1.0' in told["metrics"]


def test_strangers_get_nothing(told: dict[str, Any]) -> None:
    assert told["no key"] == 401
    assert told["other host"] == 403


def test_nothing_but_state_and_tmp_is_written(told: dict[str, Any]) -> None:
    assert told["who"] == [65532, 65532]
    writes = told["writes"]
    assert {path for path, how in writes.items() if how == "written"} == {"/state", "/tmp"}, writes
    assert any(path.endswith("journal-8080.jsonl") for path in told["state"])
    assert any("keys" in path for path in told["state"])


def test_pods_end_well_when_they_are_told_to(told: dict[str, Any]) -> None:
    assert told["exits"] == [0, 0]
