"""LoRA adapters: the referee's logits, one answer on every path, what a receipt knows of them, and what is refused."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flyball
from tests.python.engine.exactness_matrix import paths
from tests.reference import forward
from tests.reference import gguf_file as gf
from tests.reference.adapters import write_adapter
from tests.reference.distance import distance
from tests.reference.models import write_model

IDS = [(37 * i * i + 11 * i + 5) % 333 for i in range(69)]
CONTEXT = 96
GREEDY: Any = {"ignore_eos": True, "seed": 7}


class Files:
    """A small model with two adapters; the second one changes some of the matrices alone."""

    def __init__(self, folder: Path, variant: str = "llama", wtype: str = "Q8_0", kind: str = "F16") -> None:
        self.model = write_model(folder / "model.gguf", variant, wtype, n_ff=256).path
        self.one = write_adapter(folder / "one.gguf", variant, kind, n_ff=256)
        self.two = write_adapter(
            folder / "two.gguf",
            variant,
            "F32",
            n_ff=256,
            rank=3,
            seed=5,
            alpha=None,
            wanted=lambda name: "attn_" in name,
        )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module")
def model(files: Files) -> Iterator[flyball.Model]:
    with flyball.Model.load(files.model, context=CONTEXT) as model:
        yield model


def answer(files: Files, adapter: Path | None, scale: float = 1.0, ids: list[int] = IDS) -> str:
    """The digest of an answer of a model that has done nothing else."""
    with flyball.Model.load(files.model, context=CONTEXT, threads=1, prefix_cache_mb=0) as fresh:
        used = None if adapter is None else fresh.load_adapter(adapter)
        return fresh.generate(ids, 6, adapter=used, adapter_scale=scale, **GREEDY).digest


# --- numbers ---


@pytest.mark.parametrize(
    ("variant", "kind"),
    [
        *(("llama", kind) for kind in ("F32", "F16", "BF16", "Q8_0", "Q5_1", "Q4_K", "IQ4_XS")),
        *(
            (variant, "F16")
            for variant in ("llama-tied", "llama-bias", "qwen3", "phi3", "gemma3", "granite", "seed_oss")
        ),
        ("qwen35", "F16"),
        ("qwen3next", "F32"),
        ("qwen3moe-scaled", "F32"),
        ("qwen3moe", "F32"),
        ("qwen3moe", "Q8_0"),
    ],
)
def test_logits_are_the_referees(tmp_path: Path, variant: str, kind: str) -> None:
    """Of every matrix, embeddings and experts included."""
    path = write_model(tmp_path / "m.gguf", variant, "F32").path
    adapter = write_adapter(tmp_path / "a.gguf", variant, kind)
    with flyball.Model.load(path, context=64) as model:
        ids = [(7919 * i * i + 31 * i) % model.info.n_vocab for i in range(40)]
        session = model.session(cache_type="f32", adapter=model.load_adapter(adapter), adapter_scale=0.5)
        truth = forward.logits(path, ids, 64, forward.Adapter(adapter, 0.5))
        found = distance(truth, session.logits(ids))
        # A near tie of two experts may go the other way.
        assert (found.kl_median if model.info.n_expert else found.kl_max) < 1e-8, found
        assert distance(forward.logits(path, ids, 64), truth).kl_mean > 1e-3  # the adapter matters


def test_a_rank_that_fills_no_group_and_one_that_fills_many(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", "llama", "F32").path
    with flyball.Model.load(path, context=64) as model:
        for rank in (1, 5, 16, 33, 300):
            file = write_adapter(tmp_path / "a.gguf", "llama", rank=rank, alpha=2.0 * rank, gain=0.3)
            logits = model.session(cache_type="f32", adapter=model.load_adapter(file)).logits(IDS[:40])
            found = distance(forward.logits(path, IDS[:40], 64, forward.Adapter(file)), logits)
            assert found.kl_max < 1e-8, (rank, found)


@pytest.mark.parametrize(
    ("variant", "wtype"),
    [("llama", "Q8_0"), ("llama", "F32"), ("qwen3moe", "Q4_K"), ("qwen35moe", "Q8_0"), ("phi3", "F16")],
)
def test_one_answer_on_every_path(tmp_path: Path, variant: str, wtype: str) -> None:
    files = Files(tmp_path, variant, wtype)
    logits, digests = set(), set()
    for isa, threads, batches in paths():
        with flyball.Model.load(files.model, isa=isa, threads=threads, context=CONTEXT) as model:
            adapter = model.load_adapter(files.one)
            session = model.session(adapter=adapter)
            logits |= {session.logits(IDS, batch=batch).tobytes() for batch in batches}
            digests.add(session.generate(IDS, 6, **GREEDY).digest)
            digests.add(model.generate(IDS, 6, adapter=adapter, speculate="off", batch=5, **GREEDY).digest)
    assert len(logits) == len(digests) == 1


def test_neighbors_with_other_adapters_change_nothing(files: Files, model: flyball.Model) -> None:
    one, two = model.load_adapter(files.one), model.load_adapter(files.two)
    settings = [(one, 1.0), (None, 1.0), (two, 1.0), (one, 0.25), (None, 1.0), (one, 1.0), (two, -1.5)]
    prompts = [[(token + 31 * n) % 333 for token in IDS[: 69 - 7 * n]] for n in range(len(settings))]

    async def together() -> list[flyball.Result]:
        return await asyncio.gather(*(
            model.agenerate(ids, 6, adapter=adapter, adapter_scale=scale, **GREEDY)
            for ids, (adapter, scale) in zip(prompts, settings, strict=True)
        ))  # fmt: skip

    paths = {id(one): files.one, id(two): files.two}
    for ids, (adapter, scale), result in zip(prompts, settings, asyncio.run(together()), strict=True):
        assert result.digest == answer(files, paths.get(id(adapter)), scale, ids)


def test_prefixes_belong_to_their_adapter(files: Files) -> None:
    """Of the model's cache and of the session's own: a cached prefix is used under the same adapter and scale alone."""
    model = flyball.Model.load(files.model, context=CONTEXT)
    one, two = model.load_adapter(files.one), model.load_adapter(files.two)
    session = model.session()
    expected: dict[tuple[Path | None, float], str] = {}
    for adapter, path, scale in [
        (None, None, 1.0),
        (one, files.one, 1.0),
        (one, files.one, 0.5),
        (two, files.two, 1.0),
    ] * 2:
        again = (path, scale) in expected
        digest = expected.setdefault((path, scale), answer(files, path, scale))
        alone = model.generate(IDS, 6, adapter=adapter, adapter_scale=scale, **GREEDY)
        assert alone.digest == digest
        assert alone.metrics.shared_tokens == (64 if again else 0)
        assert session.generate(IDS, 6, adapter=adapter, adapter_scale=scale, **GREEDY).digest == digest
        once_more = session.generate(IDS, 6, adapter=adapter, adapter_scale=scale, **GREEDY)
        assert (once_more.digest, once_more.metrics.cached_tokens) == (digest, 68)


def test_draft_tokens_change_nothing(files: Files, model: flyball.Model) -> None:
    """By prompt lookup, and by a draft model without the adapter, which is often wrong."""
    adapter = model.load_adapter(files.one)
    plain = model.generate(IDS, 12, adapter=adapter, speculate="off", **GREEDY)
    for draft in (None, model):
        guessed = model.generate(IDS, 12, adapter=adapter, speculate="always", draft=draft, **GREEDY)
        assert guessed.digest == plain.digest
    assert guessed.metrics.speculation.drafted > 0


def test_the_session_has_one_and_an_answer_another(files: Files, model: flyball.Model) -> None:
    one, two = model.load_adapter(files.one), model.load_adapter(files.two)
    session = model.session(adapter=one, adapter_scale=0.5)
    assert (session.adapter, session.adapter_scale) == (one, 0.5)
    halved, other, none = answer(files, files.one, 0.5), answer(files, files.two), answer(files, None)
    assert session.generate(IDS, 6, **GREEDY).digest == halved
    assert session.generate(IDS, 6, adapter=two, **GREEDY).digest == other
    assert session.generate(IDS, 6, adapter=None, **GREEDY).digest == none
    assert session.generate(IDS, 6, adapter="session", **GREEDY).digest == halved
    session.set_adapter(None)
    assert session.generate(IDS, 6, **GREEDY).digest == none
    chat = model.session(adapter=two)
    assert np.array_equal(chat.logits(IDS), model.session(adapter=two).logits(IDS, batch=3))
    assert not np.array_equal(chat.logits(IDS), model.logits(IDS))
    assert chat.score(IDS).logprobs != model.score(IDS).logprobs
    assert not np.array_equal(chat.embed(IDS), model.embed(IDS))


def test_a_session_without_an_adapter_is_as_before(files: Files, model: flyball.Model) -> None:
    before = answer(files, None)
    adapter = model.load_adapter(files.one)
    model.generate(IDS, 3, adapter=adapter)
    assert model.generate(IDS, 6, **GREEDY).digest == before


# --- receipts, files, journals ---


def test_a_receipt_names_the_adapter_and_needs_it(files: Files, model: flyball.Model, tmp_path: Path) -> None:
    one, two = model.load_adapter(files.one), model.load_adapter(files.two)
    result = model.generate(IDS, 5, adapter=one, adapter_scale=0.75, **GREEDY)
    assert result.receipt["settings"]["adapters"] == [
        {"name": "flyball referee's adapter", "fingerprint": one.fingerprint, "scale": 0.75}
    ]
    assert flyball.verify(result.receipt, model, adapters=[two, one])
    assert flyball.verify(result.receipt, files.model, isa="scalar", adapters=[files.one])
    with pytest.raises(flyball.Unsupported, match=one.fingerprint[:16]):
        flyball.verify(result.receipt, model)
    with pytest.raises(flyball.Unsupported, match="give its file"):
        flyball.verify(result.receipt, model, adapters=[two])
    changed = json.loads(result.receipt.json)
    changed["settings"]["adapters"][0]["scale"] = 0.5
    with pytest.raises(flyball.VerificationError, match="changed after it was written"):
        flyball.verify(changed, model, adapters=[one])
    changed["settings"]["adapters"] = []
    with pytest.raises(flyball.VerificationError):
        flyball.verify(changed, model)
    changed["settings"]["adapters"] = [{"name": "x", "fingerprint": "00", "scale": 1}]
    with pytest.raises(flyball.FormatError, match="fingerprint"):
        flyball.verify(changed, model)


def test_another_scale_is_another_digest(files: Files, model: flyball.Model) -> None:
    adapter = model.load_adapter(files.one)
    digests = {model.generate(IDS, 1, adapter=adapter, adapter_scale=scale, **GREEDY).digest for scale in (0, 1, 1.5)}
    assert len(digests | {model.generate(IDS, 1, **GREEDY).digest}) == 4


def test_a_saved_session_remembers_its_adapter(files: Files, model: flyball.Model, tmp_path: Path) -> None:
    one, two = model.load_adapter(files.one), model.load_adapter(files.two)
    session = model.session(adapter=one, adapter_scale=0.5)
    session.generate(IDS[:50], 3, **GREEDY)
    session.save(tmp_path / "s.bin")
    restored = model.session(adapter=model.load_adapter(files.one), adapter_scale=0.5)
    restored.restore(tmp_path / "s.bin")
    assert restored.tokens == session.tokens
    result = restored.generate([*restored.tokens, 4, 5], 6, **GREEDY)
    assert result.metrics.cached_tokens >= 50
    assert result.digest == answer(files, files.one, 0.5, [*session.tokens, 4, 5])
    for other, scale, why in [(None, 1.0, "none"), (two, 0.5, "another"), (one, 0.25, "another")]:
        with pytest.raises(flyball.VerificationError, match=why):
            model.session(adapter=other, adapter_scale=scale).restore(tmp_path / "s.bin")
    model.session().save(tmp_path / "plain.bin")
    with pytest.raises(flyball.VerificationError, match="without an adapter"):
        restored.restore(tmp_path / "plain.bin")
    assert restored.tokens[:50] == IDS[:50]  # unchanged by what it refused


def test_the_journal_tells_of_adapters(files: Files, tmp_path: Path) -> None:
    journal = flyball.Journal(tmp_path / "j.jsonl")
    with journal, flyball.Model.load(files.model, context=CONTEXT, journal=journal) as model:
        adapter = model.load_adapter(files.one)
        model.session(adapter=adapter, adapter_scale=0.5).generate(IDS, 2)
        model.generate(IDS, 2)
    lines = [json.loads(line) for line in (tmp_path / "j.jsonl").read_text().splitlines()]
    of = {"fingerprint": adapter.fingerprint, "scale": 0.5}
    loaded = [line["data"] for line in lines if line["reason_id"] == "MODEL_ADAPTER_LOADED"]
    assert [(data["fingerprint"], data["rank"], data["changes_logits"]) for data in loaded] == [
        (adapter.fingerprint, 8, True)
    ]
    for reason in ("SESSION_OPENED", "SESSION_TURN_ENDED"):
        assert [line["data"].get("adapter") for line in lines if line["reason_id"] == reason] == [of, None]


# --- lifetimes ---


def test_dropping_it_while_answers_run_is_safe(files: Files) -> None:
    with flyball.Model.load(files.model, context=CONTEXT) as model:
        adapter = model.load_adapter(files.one)
        expected = answer(files, files.one)
        stream = model.stream(IDS, 6, adapter=adapter, **GREEDY)
        next(stream)
        session = model.session(adapter=adapter)
        del adapter
        gc.collect()
        assert session.generate(IDS, 6, **GREEDY).digest == expected
        list(stream)
        assert stream.result.digest == expected


def test_loading_and_dropping_while_others_answer(files: Files, model: flyball.Model) -> None:
    expected = {path: answer(files, path) for path in (files.one, files.two, None)}
    wrong: list[object] = []

    def work(path: Path | None) -> None:
        try:
            for _ in range(8):
                adapter = None if path is None else model.load_adapter(path)
                if model.generate(IDS, 6, adapter=adapter, **GREEDY).digest != expected[path]:
                    wrong.append(path)
        except Exception as error:  # told below, in the test's thread
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(path,)) for path in (*expected, *expected)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_idle_sessions_keep_no_adapter(files: Files, model: flyball.Model) -> None:
    adapter = model.load_adapter(files.one)
    assert adapter.weight_bytes > 0
    before = flyball._core.n_allocations()
    big = model.load_adapter(files.one)
    model.generate(IDS, 2, adapter=big)
    del big
    gc.collect()
    loads = flyball._core.n_allocations() - before
    assert loads > 0


# --- what is told, what is refused ---


def test_one_that_changes_nothing_is_told(files: Files, model: flyball.Model, tmp_path: Path) -> None:
    zero = write_adapter(tmp_path / "zero.gguf", "llama", n_ff=256, edit=lambda n, v: v * 0 if n.endswith("b") else v)
    with pytest.warns(RuntimeWarning, match="changes no logits"):
        adapter = model.load_adapter(zero)
    assert not adapter.changes_logits
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.load_adapter(files.one).changes_logits


def test_what_it_says_of_itself(files: Files, model: flyball.Model) -> None:
    adapter = model.load_adapter(files.one)
    assert (adapter.name, adapter.rank, adapter.alpha) == ("flyball referee's adapter", 8, 16.0)
    assert adapter.n_pairs == 2 * 7 + 2  # of each layer, and embedding and output
    assert adapter.file_bytes == files.one.stat().st_size
    assert repr(adapter) == f"Adapter({str(files.one)!r})"


Q = "blk.0.attn_q.weight"
Edit = Callable[[str, Any], Any]
REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "a model": ({"keys": {"general.type": gf.string("model")}}, "general.type.* an adapter is needed"),
    "no type": ({"keys": {"general.type": None}}, "an adapter is needed"),
    "another kind": ({"keys": {"adapter.type": gf.string("control_vector")}}, "adapter.type.*control_vector.*lora"),
    "another architecture": ({"keys": {"general.architecture": gf.string("qwen2")}}, "architecture.*qwen2.*llama"),
    "an activated one": (
        {"keys": {"adapter.alora.invocation_tokens": gf.u32s([1, 2])}},
        "adapter.alora.invocation_tokens.*activated LoRA",
    ),
    "an unknown key": ({"keys": {"adapter.lora.dropout": gf.f32(1)}}, "adapter.lora.dropout"),
    "alpha NaN": ({"keys": {"adapter.lora.alpha": gf.f32(float("nan"))}}, "adapter.lora.alpha"),
    "alpha negative": ({"keys": {"adapter.lora.alpha": gf.f32(-1)}}, "adapter.lora.alpha"),
    "alpha as text": ({"keys": {"adapter.lora.alpha": gf.string("16")}}, "adapter.lora.alpha"),
    "a wider model": ({"n_embd": 512}, "weight.lora_[ab].*another model"),
    "more layers": ({"n_layer": 3}, r"blk\.2\..*does not have.*another model"),
    "a tensor unknown": ({"more": {"blk.0.x.weight.lora_a": 1, "blk.0.x.weight.lora_b": 1}}, r"blk\.0\.x\.weight"),
    "a norm": ({"more": {"blk.0.attn_norm.weight": 1}}, r"blk\.0\.attn_norm\.weight.*no half"),
    "a norm's pair": (
        {"more": {"output_norm.weight.lora_a": 1, "output_norm.weight.lora_b": 1}},
        r"output_norm\.weight\.lora_a.*no matrix",
    ),
    "A alone": ({"edit": lambda n, v: None if n == f"{Q}.lora_b" else v}, rf"{Q}\.lora_a.*lora_b"),
    "B alone": ({"edit": lambda n, v: None if n == f"{Q}.lora_a" else v}, rf"{Q}\.lora_b.*lora_a"),
    "ranks that differ": ({"edit": lambda n, v: v[:-1] if n == f"{Q}.lora_a" else v}, rf"{Q}\.lora_b.*shape"),
    "B transposed": (
        {"edit": lambda n, v: np.ascontiguousarray(v.T) if n == f"{Q}.lora_b" else v}, rf"{Q}\.lora_b.*shape",
    ),
    "NaN": ({"edit": lambda n, v: np.where(np.arange(v.size).reshape(v.shape) == 9, np.nan, v).astype(np.float32)
             if n == f"{Q}.lora_b" else v}, rf"{Q}\.lora_b.*NaN"),
    "infinity": ({"edit": lambda n, v: v / np.float32(0) if n == f"{Q}.lora_a" else v}, rf"{Q}\.lora_a.*infinity"),
    "nothing": ({"edit": lambda n, v: None}, "tensors.*none"),
    "a rank too high": ({"rank": 4097, "wanted": lambda n: n == Q}, rf"{Q}\.lora_a.*rank 4097"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", REFUSALS)
def test_what_does_not_fit_is_refused_by_name(name: str, model: flyball.Model, tmp_path: Path) -> None:
    how, why = REFUSALS[name]
    how = dict(how)
    if "more" in how:
        how["more"] = {key: np.ones((8, 8), np.float32) for key in how["more"]}
    path = write_adapter(tmp_path / "a.gguf", "llama", **{"n_ff": 256, **how})
    with pytest.raises(flyball.Error, match=why):
        model.load_adapter(path)


def test_values_too_large_for_the_model_are_told(model: flyball.Model, tmp_path: Path) -> None:
    path = write_adapter(tmp_path / "a.gguf", "llama", n_ff=256, edit=lambda n, v: v * np.float32(1e30))
    with pytest.raises(flyball.NonFinite, match="NaN or infinity"):
        model.load_adapter(path)


def test_wrong_use_is_told(files: Files, model: flyball.Model, tmp_path: Path) -> None:
    adapter = model.load_adapter(files.one)
    with pytest.raises(flyball.NotFound):
        model.load_adapter(tmp_path / "none.gguf")
    with pytest.raises(flyball.InvalidArgument, match="adapter"):
        model.generate(IDS, 1, adapter=str(files.one))
    with pytest.raises(flyball.InvalidArgument, match="adapter_scale"):
        model.generate(IDS, 1, adapter=adapter, adapter_scale=float("nan"))
    with pytest.raises(flyball.InvalidArgument, match="adapter_scale"):
        model.session(adapter=adapter, adapter_scale=1e30)
    with pytest.raises(flyball.InvalidArgument, match="is an adapter"):
        flyball.Model.load(files.one)
    other = flyball.Model.load(files.model, context=CONTEXT)
    with pytest.raises(flyball.InvalidArgument, match="another model"):
        other.generate(IDS, 1, adapter=adapter)
    words = flyball.Model.load(files.model, vocab_only=True)
    with pytest.raises(flyball.InvalidArgument, match="vocab_only"):
        words.load_adapter(files.one)


def test_experts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", "qwen3moe", "Q8_0").path
    with flyball.Model.load(path, context=64) as model:
        fewer = write_adapter(tmp_path / "a.gguf", "qwen3moe", n_expert=7)
        with pytest.raises(flyball.InvalidArgument, match=r"shape.*another model"):
            model.load_adapter(fewer)
