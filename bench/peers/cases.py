"""The tests, their lengths, and cases, which are the rows of the result."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from .files import ModelFile

OURS = "flyball"


@dataclass(frozen=True)
class Test:
    """One kind of figure. `higher`: whether higher is better."""

    name: str
    unit: str
    higher: bool
    title: str


TESTS = {
    test.name: test
    for test in (
        Test("prompt", "tok/s", True, "Prefill of {prompt} tokens"),
        Test("decode", "tok/s", True, "Decode of {gen} tokens after {prompt}"),
        Test("depth", "tok/s", True, "Decode of {depth_gen} tokens after {depth}"),
        Test("batch", "tok/s", True, "Decode of {sequences} sequences at once"),
        Test("load", "ms", False, "Whole process for one token"),
        Test("memory", "MB", False, "Peak memory, {prompt} tokens cached"),
    )
}


@dataclass(frozen=True)
class Lengths:
    """Tokens of each test, the same for all programs."""

    prompt: int = 512
    gen: int = 128
    depth: int = 4096
    depth_gen: int = 32
    sequences: int = 8
    batch_prompt: int = 128
    batch_gen: int = 32
    memory_gen: int = 16

    def within(self, n_positions: int) -> Lengths:
        """Lengths for a model with a short context: a shorter prompt before decode; other tests are left out."""
        return replace(self, prompt=min(self.prompt, max(1, n_positions - self.gen)))


@dataclass(frozen=True)
class Case:
    """One test of one file with one thread count and instruction set."""

    file: ModelFile
    isa: str
    threads: int
    test: Test
    lengths: Lengths

    @property
    def key(self) -> str:
        """The case's name in results and messages."""
        return f"{self.file.model} {self.file.type} {self.isa} t{self.threads} {self.test.name}"

    def about(self) -> dict[str, object]:
        """The case's members in the result file."""
        return {
            "model": self.file.model,
            "type": self.file.type,
            "isa": self.isa,
            "threads": self.threads,
            "test": self.test.name,
            "title": self.test.title.format(**asdict(self.lengths)),
        }

    def trial(self) -> Case:
        """A cheaper case for the warm-up and for choosing a program's settings."""
        return replace(self, lengths=replace(self.lengths, depth=self.lengths.depth // 4))

    @property
    def steps(self) -> tuple[int, int]:
        """Tokens of one sequence before decode, and decoded tokens."""
        size = self.lengths
        return {
            "prompt": (size.prompt, 0),
            "decode": (size.prompt, size.gen),
            "depth": (size.depth, size.depth_gen),
            "batch": (size.batch_prompt, size.batch_gen),
            "load": (1, 1),
            "memory": (size.prompt, size.memory_gen),
        }[self.test.name]

    @property
    def fits(self) -> bool:
        """Whether the case fits in the model's context."""
        return sum(self.steps) <= self.file.context

    def seconds(self) -> float:
        """A rough estimate of one process's time, to be corrected by measurements."""
        before, after = self.steps
        giga, n = self.file.bytes / 1e9, self.lengths.sequences if self.test.name == "batch" else 1
        return 0.1 + giga + giga * (n * before / 60 + after / 4) / self.threads
