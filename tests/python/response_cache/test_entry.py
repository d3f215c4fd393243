"""Cached answers as bytes: what goes in comes out, and nothing else does."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import flyball
from flyball.engine.results import Piece
from flyball.errors import FormatError, InvalidArgument
from flyball.response_cache import CachedAnswer, Place, key_of, open_answers
from flyball.response_cache.entry import may_be_kept
from flyball.response_cache.in_store import StoredAnswers
from flyball.store import Store

from .conftest import with_seed


def test_an_answer_comes_back_with_every_bit(model: flyball.Model, answer: CachedAnswer) -> None:
    key = answer.receipt.request_key
    found = CachedAnswer.decode(answer.encode("lab", "k"), "lab", "k", key)
    assert (found.id, found.pieces, found.receipt.json) == (answer.id, answer.pieces, answer.receipt.json)
    assert found.cycles == answer.cycles > 0
    options: dict[str, Any] = {"seed": 0, "top_logprobs": 2, "ignore_eos": True}
    prepared = model.prepare("Once upon a time", 4, **options)
    computed = model.generate("Once upon a time", 4, **options)
    again = prepared.given_again(found.receipt, found.pieces, found.cached_tokens)
    assert replace(again, metrics=computed.metrics) == computed
    assert (again.digest, again.receipt.json) == (answer.receipt.digest, answer.receipt.json)
    assert again.metrics.total_cycles == again.metrics.prefill.cycles == 0
    assert again.metrics.generated_tokens == 4
    with pytest.raises(InvalidArgument):
        model.prepare("Once", 4, **options).given_again(found.receipt, found.pieces, 0)


def sealed(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def changed(**members: Any) -> Callable[[dict[str, Any]], object]:
    return lambda found: found.update(members)


def in_receipt(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
    def apply(found: dict[str, Any]) -> None:
        receipt = json.loads(found["receipt"])
        change(receipt)
        found["receipt"] = json.dumps(receipt)

    return apply


HOSTILE: list[Callable[[dict[str, Any]], object]] = [
    changed(version=2),
    changed(project="other"),
    changed(key="other"),
    changed(id=""),
    changed(id="x" * 65),
    changed(id=7),
    changed(receipt="{}"),
    changed(receipt=None),
    changed(pieces=None),
    changed(pieces={}),
    changed(pieces=[]),
    changed(cycles=-1),
    changed(cycles=True),
    changed(cached_tokens=1e3),
    lambda found: found["pieces"].pop(),
    lambda found: found["pieces"][0].pop(),
    lambda found: found["pieces"][0].__setitem__(0, found["pieces"][0][0] ^ 1),
    lambda found: found["pieces"][0].__setitem__(0, True),
    lambda found: found["pieces"][0].__setitem__(1, "other"),
    lambda found: found["pieces"][0].__setitem__(1, None),
    lambda found: found["pieces"][0].__setitem__(2, "0"),
    lambda found: found["pieces"][0].__setitem__(2, float("nan")),
    lambda found: found["pieces"][0].__setitem__(3, [[1, "x"]]),
    lambda found: found["pieces"][0].__setitem__(3, [[1, "x", 0.5]] * 200),
    in_receipt(lambda receipt: receipt["sampler"].update(seed=1)),
    in_receipt(lambda receipt: receipt["prompt_tokens"].append(5)),
    in_receipt(lambda receipt: receipt["stop"].update(reason="deadline")),
    in_receipt(lambda receipt: receipt.update(text="other")),
]


def test_whoever_can_write_there_gets_no_further(answer: CachedAnswer) -> None:
    """With a right checksum, too."""
    for change in HOSTILE:
        found = json.loads(answer.encode("lab", "k").partition(b"\n")[2])
        change(found)
        with pytest.raises(FormatError, match="cached answer"):
            CachedAnswer.decode(sealed(json.dumps(found).encode()), "lab", "k", answer.receipt.request_key)


def test_damaged_bytes_are_no_answer(answer: CachedAnswer) -> None:
    raw, key = answer.encode("lab", "k"), answer.receipt.request_key
    bodies = [b"[" * 100_000, b"7", b"null", b"\xff", b'{"version": 1}', b"1e999"]
    cut = [raw[:n] for n in (0, 1, 64, 65, len(raw) - 1)]
    flipped = [raw[:n] + bytes([raw[n] ^ 1]) + raw[n + 1 :] for n in range(0, len(raw), 97)]
    for damaged in (*cut, *flipped, *map(sealed, bodies), raw + b" "):
        with pytest.raises(FormatError):
            CachedAnswer.decode(damaged, "lab", "k", key)


def test_what_cannot_be_written_is_not_kept(answer: CachedAnswer) -> None:
    endless = replace(answer, pieces=(Piece("x", 1, float("-inf")),))
    with pytest.raises(FormatError, match="no number"):
        endless.encode("lab", "k")
    with pytest.raises(FormatError, match="MiB"):
        replace(answer, pieces=(Piece("x" * (17 << 20), None, 0.0),)).encode("lab", "k")


def test_only_answers_that_end_by_themselves_are_kept(model: flyball.Model) -> None:
    def asked(**options: Any) -> bool:
        key = model.request_key("Once", 3, seed=1, **{k: v for k, v in options.items() if k != "deadline"})
        return may_be_kept(model.generate("Once", 3, seed=1, **options), key)

    assert asked()
    assert asked(stop=["a", "e", " "])
    assert not asked(deadline=0)
    stream = model.stream("Once", 100, seed=1)
    next(stream)
    assert not may_be_kept(stream.close(), model.request_key("Once", 100, seed=1))
    assert not may_be_kept(model.generate("Once", 3, seed=1), model.request_key("Once", 3, seed=2))


ROOM = 160_000  # bytes of a project


def test_10_000_random_questions_of_two_projects(answer: CachedAnswer, tmp_path: Path) -> None:
    """Every answer that is found is the one that this project put for this question."""
    draw = random.Random(7)
    seeds = {seed: with_seed(answer, seed, "") for seed in range(40)}
    kinds = [(project, seed, top) for project in ("default", "other") for seed in seeds for top in (0, 5)]
    n_found = n_put = 0
    with Store.open(tmp_path / "store.sqlite") as store:
        store.create_project("other")
        answers = StoredAnswers(store, 3_600_000, ROOM)  # room for a part of them
        for _ in range(40):
            with store.together():  # as the server's records do
                for project, seed, top in draw.choices(kinds, k=250):
                    request_key = seeds[seed].receipt.request_key
                    place = Place(project, answer.receipt.fingerprint, "", key_of(request_key, top))
                    identity = f"{project}-{seed}-{top}"
                    if (raw := answers.get(place)) is None:
                        answers.put(place, replace(seeds[seed], id=identity).encode(project, place.key))
                        n_put += 1
                        continue
                    found = CachedAnswer.decode(raw, project, place.key, request_key)
                    assert (found.id, found.receipt["sampler"]["seed"]) == (identity, seed)
                    n_found += 1
        sizes = [sum(group.n_bytes for group in answers.groups(name)) for name in ("default", "other")]
    assert n_found + n_put == 10_000
    assert n_found > 2_000
    assert n_put > 160
    assert answers.n_evicted > 0
    assert all(size <= ROOM * 17 / 16 + 10_000 for size in sizes)


@pytest.mark.parametrize("where", ["on", "", "http://localhost", "store", "redis://[", "redis://localhost:x"])
def test_places_where_nothing_can_be_kept_are_refused(where: str) -> None:
    with pytest.raises(InvalidArgument, match=r"serve\.response_cache"):
        open_answers(where, None, 1, 1)
    assert open_answers("off", None, 1, 1) is None
