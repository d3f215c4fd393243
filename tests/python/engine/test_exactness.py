"""Contract 1: instruction set, threads, batch split, prefixes, neighbors and draft tokens never change a bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import flyball
from tests.python.engine import exactness_matrix as matrix

CASES = list(matrix.sample())


@pytest.mark.parametrize(("variant", "wtype", "cache", "level"), CASES, ids=["-".join(case[:3]) for case in CASES])
def test_row_set_has_one_digest(variant: str, wtype: str, cache: str, level: str, tmp_path: Path) -> None:
    combinations = matrix.combinations_of(level)
    path = matrix.write(tmp_path, variant, wtype)
    rows = matrix.show(f"{variant}-{wtype}, cache {cache}", matrix.compute(path, combinations, cache))
    path.unlink()
    assert len(rows) == len(combinations)
    assert matrix.differences(rows) == []


def test_the_sample_has_every_variant_and_every_type() -> None:
    whole = list(matrix.cases())
    assert {case[:3] for case in CASES} < {case[:3] for case in whole}
    for part in (0, 1, 2, 3):
        assert {case[part] for case in CASES} == {case[part] for case in whole}


def test_matrix_covers_every_usable_instruction_set() -> None:
    isas = flyball.isas()
    assert isas[-1] == "scalar"
    for level in ("all", "vector", "corners"):
        assert {c.isa for c in matrix.combinations_of(level)} == set(isas)
    assert {(c.threads, c.batch) for c in matrix.combinations_of("all")} == {
        (threads, batch) for threads in matrix.THREADS for batch in matrix.BATCHES
    }
    assert {(c.neighbors, c.speculation) for c in matrix.combinations_of("all")} == {
        (neighbors, speculation) for neighbors in matrix.NEIGHBORS for speculation in (False, True)
    }


def test_a_difference_would_be_found() -> None:
    combination = matrix.Combination("scalar", 1, 1, "logits")
    other = matrix.Combination("scalar", 2, 1, "logits")
    generated = matrix.Combination("scalar", 1, 1, "cached")
    assert matrix.differences([matrix.Row(combination, "a"), matrix.Row(other, "a"), matrix.Row(generated, "b")]) == []
    assert len(matrix.differences([matrix.Row(combination, "a"), matrix.Row(other, "b")])) == 1


@pytest.mark.parametrize(
    "variant",
    [
        *(
            "llama",
            "gemma2",
            "gemma3",
            "phi3",
            "qwen3",
            "qwen3moe",
            "smollm3",
            "granite",
            "gemma4-shared",
            "gemma4-moe",
        ),
        *("mistral3", "gpt-oss", "deepseek2"),
    ],
)
def test_decode_equals_prefill(variant: str, model_file: Callable[..., Path]) -> None:
    """Logits of a decoded position have the bits of the same position computed in a batch."""
    with flyball.Model.load(model_file(variant, "Q8_0"), context=128) as model:
        prompt = [(7 * i + 3) % model.info.n_vocab for i in range(70)]
        whole = model.generate(prompt, 8, ignore_eos=True, seed=1)
        for n in range(1, 8):
            again = model.generate([*prompt, *whole.tokens[:n]], 1, ignore_eos=True, seed=1)
            assert again.receipt["logits_hashes"] == whole.receipt["logits_hashes"][n : n + 1]


def test_the_bundled_model_agrees_on_all_tables() -> None:
    digests = set()
    for isa in flyball.isas():
        with flyball.Model.load(flyball.demo_model_path(), isa=isa, threads=3) as model:
            digests.add(model.generate("Once upon a time", 24, seed=5).digest)
    assert len(digests) == 1


def test_documented_digests_hold_on_this_machine(demo: flyball.Model) -> None:
    """The pages show digests that were computed elsewhere: promises that anybody can check."""
    root = Path(__file__).parents[3]
    for page, n_tokens in (("docs/python.md", 48), ("docs/cli.md", 60), ("README.md", 120)):
        digest = demo.generate("Once upon a time", n_tokens).digest
        assert digest in (root / page).read_text(), f"{page} shows another digest than {digest}"
