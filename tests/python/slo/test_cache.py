"""Cache modes: the same answers, prompts that are not computed again, and nothing from another project."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

import flyball
from flyball.cli import main
from flyball.errors import InternalError
from flyball.slo import cache, responses
from flyball.slo.run import Measured, Sample
from flyball.slo.scenarios import SCENARIOS


@pytest.fixture(scope="module")
def savings() -> cache.Savings:
    path = flyball.demo_model_path()
    with flyball.Model.load(path, prefix_cache_mb=0) as off, flyball.Model.load(path) as cached:
        return cache.compare(off, cached, SCENARIOS["long-document"], 2, lambda *_: None)


def test_all_ways_give_the_same_answer(savings: cache.Savings) -> None:
    assert list(savings.samples) == list(cache.WAYS)
    assert len({sample.digest for samples in savings.samples.values() for sample in samples}) == 1


def test_only_a_warm_cache_saves_tokens(savings: cache.Savings) -> None:
    assert savings.saved("off") == savings.saved("cold") == savings.saved("foreign") == 0
    assert savings.saved("warm") > 100


def test_another_answer_is_refused(savings: cache.Savings) -> None:
    samples = {way: list(found) for way, found in savings.samples.items()}
    samples["warm"][1] = replace(samples["warm"][1], digests=("0" * 64,))
    with pytest.raises(InternalError, match="warm"):
        cache.checked("x", samples, "a cache")
    samples = {way: list(found) for way, found in savings.samples.items()}
    samples["foreign"][0] = replace(samples["foreign"][0], cached_tokens=64)
    with pytest.raises(InternalError, match="another project"):
        cache.checked("x", samples, "a cache")


def made(measured: list[Measured], off: list[float], warm: list[float]) -> cache.Savings:
    one = measured[0].samples[0]

    def samples(times: list[float]) -> tuple[Sample, ...]:
        return tuple(replace(one, ms=ms) for ms in times)

    ways = {"off": off, "cold": off, "warm": warm, "foreign": off}
    return cache.Savings("short-question", {way: samples(times) for way, times in ways.items()})


def test_speed_up_and_its_bound_by_hand(measured: list[Measured]) -> None:
    found = made(measured, [20.0, 40.0, 60.0, 80.0, 100.0], [10.0] * 5)
    # The smallest of five is below the median in all but 1 of 32 samples: a bound at 96.9 %.
    assert found.speed_up("warm") == pytest.approx((6.0, 2.0))
    assert made(measured, [20.0] * 4, [10.0] * 4).speed_up("warm") == pytest.approx((2.0, 0.0))


def test_the_page_and_its_plot(measured: list[Measured]) -> None:
    found = [made(measured, [20.0] * 5, [10.0] * 5)]
    text = cache.markdown(found, "A | model")
    assert "| short-question | 20.0 | 20.0 | 10.0 | 20.0 | 2.00 | 2.00 |" in text
    drawn = ET.fromstring(cache.plot(found))
    assert len(drawn.findall(".//{http://www.w3.org/2000/svg}rect")) == 5  # page, two of the legend, two bars


def test_the_command_writes_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "scenario", "short-question", "--cache", "prefix", "--iter", "1", "--out", str(tmp_path)]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["scenarios"][0]["ways"]) == set(cache.WAYS)
    assert (tmp_path / "cache_savings.md").read_text().startswith("# What the prefix cache saves")
    assert (tmp_path / "cache_savings.svg").exists()


@pytest.mark.parametrize("name", ["multi-turn-chat", "eight-clients"])
def test_an_answer_given_again_saves_all_its_tokens(name: str) -> None:
    with flyball.Model.load(flyball.demo_model_path(), prefix_cache_mb=0) as model:
        found = responses.compare(model, SCENARIOS[name], 2, lambda *_: None)
    assert len({sample.digest for samples in found.samples.values() for sample in samples}) == 1
    assert found.saved("off") == found.saved("cold") == found.saved("foreign") == 0
    assert found.saved("warm") > found.samples["off"][0].generated_tokens
    assert all(sample.first_token_ms == 0 for sample in found.samples["warm"])


def test_the_command_compares_the_cache_of_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "scenario", "short-question", "--cache", "response", "--iter", "1", "--out", str(tmp_path)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert said.startswith("# What the cache of answers saves")
    assert "without this answer" in said
    assert (tmp_path / "cache_savings.md").read_text() in said
