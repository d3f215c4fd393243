"""Real vocabularies with expected token ids, and chat templates of many models.

They come from the source distribution of llama-cpp-python (fetched once, 73 MB), as they are too large for this
repository. The archive comes from where pip looks (index, extra indexes, find-links), is checked against a pinned
SHA-256, and what is needed of it stays in build/vocabularies. pip itself cannot fetch a source distribution without
running the build backend, so the index page is read here.
"""

from __future__ import annotations

import fcntl
import hashlib
import html
import os
import re
import shutil
import ssl
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

VERSION = "0.3.36"
ARCHIVE = f"llama_cpp_python-{VERSION}.tar.gz"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
DIRECTORY = Path(__file__).resolve().parents[3] / "build" / "vocabularies" / VERSION
# All that Flyball reads; the first three come without expected ids.
NAMES = (
    "aquila", "baichuan", "gpt-neox", "command-r", "deepseek-coder", "deepseek-llm", "falcon", "gemma-4", "gpt-2",
    "llama-bpe", "llama-spm", "mpt", "phi-3", "qwen2", "qwen35", "refact", "starcoder",
)  # fmt: skip
REFUSED = {"bert-bge": "bert", "nomic-bert-moe": "t5"}  # and their tokenizer models
SEPARATOR = "\n__ggml_vocab_test__\n"
_WANTED = re.compile(
    r".*/vendor/llama\.cpp/models/(ggml-vocab-[a-z0-9.-]+\.gguf(?:\.inp|\.out)?|templates/[^/]+\.jinja)"
)
_COMPLETE = DIRECTORY / "complete-with-templates"


@dataclass(frozen=True)
class Case:
    text: str
    ids: list[int]


def path(name: str) -> Path:
    """The file of a vocabulary such as "llama-bpe"; fetches all of them when they are not there."""
    _fetch()
    found = DIRECTORY / f"ggml-vocab-{name}.gguf"
    if not found.exists():
        raise FileNotFoundError(f"{ARCHIVE} has no vocabulary {name!r}; it has {', '.join(names())}")
    return found


def names() -> list[str]:
    _fetch()
    return sorted(p.stem.removeprefix("ggml-vocab-") for p in DIRECTORY.glob("*.gguf"))


def templates() -> list[Path]:
    """The chat templates that come with the vocabularies; they are many models' own."""
    _fetch()
    return sorted((DIRECTORY / "templates").glob("*.jinja"), key=lambda path: path.name.lower())


def cases(name: str) -> list[Case]:
    """The texts that come with a vocabulary, and their ids: no begin and end tokens, special tokens not parsed."""
    vocabulary = path(name)
    texts = vocabulary.with_name(vocabulary.name + ".inp").read_bytes().decode().split(SEPARATOR)
    if texts[-1] == "":  # nothing behind the last separator
        texts.pop()
    lines = vocabulary.with_name(vocabulary.name + ".out").read_text(encoding="ascii").splitlines()
    if len(texts) != len(lines):
        raise ValueError(f"{name}: {len(texts)} texts, but {len(lines)} lines of ids")
    return [Case(text, [int(i) for i in line.split()]) for text, line in zip(texts, lines, strict=True)]


def _fetch() -> None:
    if _COMPLETE.exists():
        return
    (DIRECTORY / "templates").mkdir(parents=True, exist_ok=True)
    with open(DIRECTORY / "lock", "w") as lock:  # several test processes may want it at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _COMPLETE.exists():
            return
        archive = DIRECTORY / ARCHIVE
        _download(archive)
        with tarfile.open(archive) as tar:
            for member in tar:
                match = _WANTED.fullmatch(member.name)
                source = tar.extractfile(member) if match and member.isfile() else None
                if match and source:
                    with open(DIRECTORY / match[1], "wb") as out:
                        shutil.copyfileobj(source, out)
        archive.unlink()
        _COMPLETE.touch()


def _download(target: Path) -> None:
    tried = []
    for url in _candidates():
        try:
            digest = _save(url, target)
        except (OSError, ValueError) as error:
            tried.append(f"{url}: {error}")
            continue
        if digest == SHA256:
            return
        tried.append(f"{url}: SHA-256 is {digest}, not {SHA256}")
    target.unlink(missing_ok=True)
    raise RuntimeError(f"cannot get {ARCHIVE}, which holds the vocabularies:\n" + "\n".join(tried))


def _candidates() -> Iterator[str]:
    settings = _pip_settings()
    for links in settings.get("find-links", "").split():
        local = Path(urllib.parse.urlparse(links).path) / ARCHIVE
        if local.exists():
            yield local.as_uri()
    indexes = settings.get("index-url", "https://pypi.org/simple").split() + settings.get("extra-index-url", "").split()
    for index in indexes:
        page = f"{index.rstrip('/')}/llama-cpp-python/"
        try:
            with _open(page) as response:
                text = response.read().decode()
                base = response.url
        except OSError:
            yield page  # its error is reported when it is tried again
            continue
        for href in re.findall(r'href="([^"]+)"', text):
            url = urllib.parse.urljoin(base, html.unescape(href)).partition("#")[0]
            if url.endswith("/" + ARCHIVE):
                yield url


def _pip_settings() -> dict[str, str]:
    """What pip would use: its configuration files, overridden by the environment."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    settings = {}
    for key, value in re.findall(r"^(?:global|install|download|site|user)\.([a-z-]+)='(.*)'$", listed, re.MULTILINE):
        settings[key] = value.replace("\\n", " ")
    for key in ("index-url", "extra-index-url", "find-links", "cert"):
        value = os.environ.get("PIP_" + key.upper().replace("-", "_"))
        if value:
            settings[key] = value
    return settings


def _open(url: str) -> urllib.request._UrlopenRet:
    cert = _pip_settings().get("cert")
    context = ssl.create_default_context(cafile=cert if cert and Path(cert).is_file() else None)
    return urllib.request.urlopen(url, timeout=60, context=context)


def _save(url: str, target: Path, attempts: int = 3) -> str:
    for attempt in range(attempts):
        digest = hashlib.sha256()
        try:
            with _open(url) as response, open(target, "wb") as out:
                while chunk := response.read(1 << 20):
                    digest.update(chunk)
                    out.write(chunk)
            return digest.hexdigest()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            if attempt + 1 == attempts:
                raise
            time.sleep(2**attempt)
    raise AssertionError("attempts must be positive")


if __name__ == "__main__":
    print(f"{len(names())} vocabularies in {DIRECTORY}: {', '.join(names())}")
