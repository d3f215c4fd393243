"""Clients as their users install them, each in a virtual environment of its own, against one real server.

    python -m tests.clients.check [NAME ...]    # all of CLIENTS, or those that are named

The environments stay in build/clients, so that a second run installs nothing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import flyball
from tests.python.serve.scripted_model import write_scripted_model

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build/clients"


@dataclass(frozen=True)
class Client:
    """What pip installs, and the file of checks that its environment runs."""

    packages: tuple[str, ...]
    checks: str


CLIENTS = {
    "openai-3": Client(("openai>=3,<4",), "with_openai.py"),
    "openai-2": Client(("openai>=2,<3",), "with_openai.py"),
    "openai-1": Client(("openai>=1.66,<2",), "with_openai.py"),
    "anthropic": Client(("anthropic>=2,<3",), "with_anthropic.py"),
    "ollama": Client(("ollama>=0.6,<0.7",), "with_ollama.py"),
    "langchain": Client(("langchain-openai>=1,<2",), "with_langchain.py"),
    "lm-eval": Client(("lm-eval[api]>=0.4.13,<0.5",), "with_lm_eval.py"),
    "litellm": Client(("litellm>=1.80,<2",), "with_litellm.py"),
}


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of a server with two models, and so few places that a client sees refusals."""
    scripted = write_scripted_model(folder / "scripted.gguf")
    command = [sys.executable, "-m", "flyball", "serve", "--port", "0", "--set", "tune=off"]
    command += ["--set", "serve.parallel=2", "--set", "serve.waiting=4"]
    command += [f"flyball-demo={flyball.demo_model_path()}", f"scripted={scripted}"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith("OpenAI"):
                    yield line.split()[1].removesuffix("/v1")
                    break
            else:
                raise SystemExit(f"the server ended with {process.wait()}")
        finally:
            process.terminate()


def environment(name: str, client: Client) -> Path:
    """The Python that has a client installed."""
    folder = FOLDER / name
    python = folder / "bin/python"
    done = folder / "packages.txt"
    wanted = "\n".join(client.packages)
    if not done.is_file() or done.read_text() != wanted:
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "pytest>=8,<10", *client.packages], check=True)
        done.write_text(wanted)
    return python


def check(name: str, client: Client, url: str) -> bool:
    """Run a client's checks; whether they pass."""
    python = environment(name, client)
    # The project's settings of pytest make errors of the warnings that clients give.
    command = [str(python), "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(ROOT), "-p", "no:cacheprovider"]
    print(f"== {name}", flush=True)
    ended = subprocess.run(
        [*command, ROOT / "tests/clients" / client.checks], env=os.environ | {"FLYBALL_URL": url}, cwd=FOLDER
    )
    return ended.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CLIENTS))
    names = parser.parse_args().names or list(CLIENTS)
    if unknown := set(names) - set(CLIENTS):
        parser.error(f"no such client: {', '.join(sorted(unknown))}; there are {', '.join(CLIENTS)}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with serving(FOLDER) as url:
        failed = [name for name in names if not check(name, CLIENTS[name], url)]
    print(f"failed: {', '.join(failed)}" if failed else f"{len(names)} clients work", flush=True)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
