"""A pack: frozen cases with build, model, seed and profile. The same inputs give the same bytes.

schema 1: {schema, kind: "pack", build, profile, repeat, seed, model, corpus}, where the corpus has its own SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from .. import _core
from ..engine.model import Model
from ..engine.options import GenerateKeywords
from ..errors import InvalidArgument
from ..paths import AnyPath, expanded
from . import fields
from .fields import SCHEMA, Fields

REPEATS = {"quick": 3, "ci": 5, "nightly": 15, "release": 15}  # samples of each case by profile
_MOST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Case:
    """A prompt and how it is answered. All sampling options are explicit, so that no build's defaults matter.

    `speculate` is off or always: the draft tokens of "auto", and so the counters, depend on measured time.
    """

    id: str
    category: str
    prompt: str
    max_tokens: int
    speculate: str
    sampling: GenerateKeywords

    def seed(self, of_pack: int) -> int:
        """The seed that draws its tokens."""
        return ((self.sampling["seed"] or 0) + of_pack) % 2**64

    @classmethod
    def of(cls, found: Fields) -> Case:
        """From JSON."""
        found.only("id", "category", "prompt", "max_tokens", "speculate", "sampling")
        how = found.sub("sampling")
        how.only("temperature", "top_k", "top_p", "min_p", "repeat_penalty", "no_repeat_ngram", "seed")
        speculate = found.text("speculate")
        if speculate not in ("off", "always"):
            found.wrong("speculate", f"is {speculate!r}, must be off or always")
        return cls(
            id=found.text("id", empty=False),
            category=found.text("category"),
            prompt=found.text("prompt", empty=False),
            max_tokens=found.integer("max_tokens", least=1, most=1 << 20),
            speculate=speculate,
            sampling={
                "temperature": how.number("temperature"),
                "top_k": how.integer("top_k", most=2**32 - 1),
                "top_p": how.number("top_p"),
                "min_p": how.number("min_p"),
                "repeat_penalty": how.number("repeat_penalty"),
                "no_repeat_ngram": how.integer("no_repeat_ngram", most=2**32 - 1),
                "seed": how.integer("seed", most=_MOST_SEED),
            },
        )


@dataclass(frozen=True)
class Corpus:
    """The cases, and the context limit of their sessions."""

    context: int
    cases: tuple[Case, ...]

    @classmethod
    def of(cls, found: Fields) -> Corpus:
        """From JSON."""
        cases = tuple(Case.of(case) for case in found.items("cases"))
        if not cases:
            found.wrong("cases", "is empty")
        ids = [case.id for case in cases]
        if len(set(ids)) < len(ids):
            found.wrong("cases", f"has the id {max(ids, key=ids.count)!r} twice")
        return cls(found.integer("context", least=16, most=1 << 20), cases)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"context": self.context, "cases": [asdict(case) for case in self.cases]}

    @property
    def sha256(self) -> str:
        """SHA-256 of the cases and the context limit."""
        return hashlib.sha256(fields.dump(self.as_dict())).hexdigest()

    def pick(self, wanted: Iterable[str]) -> Corpus:
        """The corpus with only these cases."""
        wanted = set(wanted)
        return Corpus(self.context, tuple(case for case in self.cases if case.id in wanted))


@dataclass(frozen=True)
class Build:
    """A build of flyball. `commit`: of git, or "unknown"; `extension`: SHA-256 of the compiled module."""

    version: str
    commit: str
    extension: str

    @classmethod
    def here(cls) -> Build:
        """The running build."""
        extension = hashlib.sha256(Path(str(_core.__file__)).read_bytes()).hexdigest()
        return cls(_core.version, _commit(Path(__file__).parents[1]), extension)

    @classmethod
    def of(cls, found: Fields) -> Build:
        """From JSON."""
        return cls(found.text("version"), found.text("commit"), found.text("extension"))


@dataclass(frozen=True)
class Pack:
    """`seed` is added to each case's own. `fingerprint` identifies the model, `model` only names it."""

    corpus: Corpus
    build: Build
    profile: str
    repeat: int
    seed: int
    model: str
    fingerprint: str

    @classmethod
    def make(cls, model: Model, profile: str = "ci", seed: int = 0) -> Pack:
        """Make a pack of the bundled corpus."""
        if profile not in REPEATS:
            raise InvalidArgument("--profile", f"is {profile!r}, must be {', '.join(REPEATS)}")
        if not 0 <= seed <= _MOST_SEED:
            raise InvalidArgument("--seed", f"is {seed}, must be from 0 to {_MOST_SEED}")
        info = model.info
        return cls(bundled(), Build.here(), profile, REPEATS[profile], seed, info.name, info.fingerprint)

    @classmethod
    def read(cls, path: AnyPath) -> Pack:
        """Read a file; its corpus must be unchanged."""
        found = Fields.read(path, "pack")
        found.only("schema", "kind", "build", "profile", "repeat", "seed", "model", "corpus")
        corpus, model = found.sub("corpus"), found.sub("model")
        pack = cls(
            corpus=Corpus.of(corpus),
            build=Build.of(found.sub("build")),
            profile=found.text("profile"),
            repeat=found.integer("repeat", least=1, most=10_000),
            seed=found.integer("seed", most=_MOST_SEED),
            model=model.text("name"),
            fingerprint=model.text("fingerprint"),
        )
        if pack.corpus.sha256 != corpus.text("sha256"):
            found.wrong("corpus", f"was changed: its SHA-256 is now {pack.corpus.sha256[:12]}...")
        return pack

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "schema": SCHEMA,
            "kind": "pack",
            "build": asdict(self.build),
            "profile": self.profile,
            "repeat": self.repeat,
            "seed": self.seed,
            "model": {"name": self.model, "fingerprint": self.fingerprint},
            "corpus": {"sha256": self.corpus.sha256, **self.corpus.as_dict()},
        }

    @property
    def sha256(self) -> str:
        """SHA-256 of the file's bytes."""
        return hashlib.sha256(fields.dump(self.as_dict())).hexdigest()

    def inputs(self) -> str:
        """JSON lines: what each case gives to the model, for other programs to run."""
        about = {"context": self.corpus.context, "fingerprint": self.fingerprint}
        rows = [
            {"case_id": case.id, "category": case.category, "prompt": case.prompt, "max_tokens": case.max_tokens}
            | {"speculate": case.speculate, **case.sampling, "seed": case.seed(self.seed), **about}
            for case in self.corpus.cases
        ]
        return "".join(json.dumps(row) + "\n" for row in rows)

    def check_model(self, path: AnyPath, fingerprint: str) -> None:
        """Refuse another model, whose answers and costs would not be comparable."""
        if fingerprint != self.fingerprint:
            raise InvalidArgument(
                expanded(path),
                f"has the fingerprint {fingerprint[:12]}..., the pack was made with {self.model!r}, "
                f"{self.fingerprint[:12]}...; --model names its file",
            )


def bundled() -> Corpus:
    """The corpus in the package."""
    name = "data/bench_corpus.json"
    return Corpus.of(Fields(name, fields.parse(name, files("flyball").joinpath(name).read_bytes())))


def machine() -> dict[str, Any]:
    """The processor: its name, and a digest of its features."""
    facts: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    wanted = [facts.get(name, "") for name in ("vendor_id", "cpu family", "model", "model name", "stepping", "flags")]
    description = "\n".join([*wanted, str(_core.n_processors())])
    return {
        "name": facts.get("model name", "unknown"),
        "n_processors": _core.n_processors(),
        "digest": hashlib.sha256(description.encode()).hexdigest(),
    }


def _commit(folder: Path) -> str:
    """The commit of the package's checkout, with "-dirty" if files differ from it."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # fails if the package is only installed inside some checkout
        return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
