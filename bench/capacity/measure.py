"""Measure a replica's and an edge's costs under load, and hold the simulator to what the same servers then do.

Each figure is that of servers as they are: `flyball serve` behind `flyball edge`, over HTTP, streams read to the end.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import flyball
from bench import serving
from bench.processes import Program
from bench.stalls import at
from flyball.bench import speed
from flyball.load import process
from flyball.load.answers import Answer
from flyball.scale.capacity import Lengths, Replica, Workload
from flyball.scale.fleet import EdgeCosts
from flyball.scale.simulate import Question, Simulation, Told

_RUNNING = (1, 2, 4, 8, 16, 32)
_WORDS = ("serve", "--threads", "1", "--set", "tune=off", "--speculate", "off")
_PROMPTS, _ANSWERS = range(32, 257), range(16, 97)
_ALONE = 24  # short and long prompts, in turn, one at a time
_LOADS = (0.3, 0.6, 0.85)  # of what the replicas take
FIRST, BETWEEN = 0.5, 0.05  # seconds: what an answer in time meets


async def _closed(urls: Sequence[str], n_each: int, n: int, prompt: range, answer: range, seed: int) -> list[Answer]:
    """`n` answers of each server, all servers at once, by so many clients each."""
    found = await asyncio.gather(
        *(
            serving.closed_loop(url, "", serving.questions(n, 0, prompt, answer, seed + place), n_each)
            for place, url in enumerate(urls)
        )
    )
    answers = [each for some, _ in found for each in some]
    if errors := [each.error for each in answers if each.error]:
        raise SystemExit(f"{len(errors)} of {len(answers)} answers failed: {errors[0]}")
    return answers


async def replica_costs(urls: Sequence[str], tokens: Sequence[int]) -> Replica:
    """Of each of these servers, while all of them are loaded alike. `tokens`: of prompts of 16 and 300 words."""
    steps, slowest = [], 0.0
    for n in _RUNNING:
        answers = await _closed(urls, n, 2 * n + 2, range(8, 9), range(160, 161), 1000 + n)
        slowest = max(slowest, statistics.median(each.per_token or 0.0 for each in answers))  # more never take less
        steps.append((n, slowest))
    firsts: dict[int, list[float]] = {16: [], 300: []}
    for number in range(_ALONE):
        for words, found in firsts.items():
            answers = await _closed(urls, 1, 1, range(words, words + 1), range(1, 2), 5000 + 2 * number)
            found += [each.first for each in answers]
    short, long = (statistics.median(found) for found in firsts.values())
    prompt_token = max(1e-9, (long - short) / (tokens[1] - tokens[0]))
    return Replica(tuple(steps), prompt_token, max(0.0, short - tokens[0] * prompt_token))


async def edge_costs(url: str) -> EdgeCosts:
    """Processor time of an edge for a request and for an event, from short answers and long ones."""
    pid = process.listener(url)
    assert pid is not None
    found = []
    for n, n_tokens in ((400, 2), (60, 160)):
        before = process.cpu_seconds(pid)
        await _closed([url], 8, n, range(8, 9), range(n_tokens, n_tokens + 1), 9000 + n)
        found.append((process.cpu_seconds(pid) - before) / n)
    event = max(0.0, (found[1] - found[0]) / 158)
    return EdgeCosts(max(0.0, found[0] - 2 * event), event)


def trace(asked: Sequence[serving.Question], model: flyball.Model) -> list[Question]:
    """The same requests for the simulator."""
    chat = model.chat_format()
    return [
        Question(
            each.at,
            str(number).encode(),
            len(chat.ids([{"role": "user", "content": each.prompt}])),
            0,
            each.n_tokens,
        )
        for number, each in enumerate(asked)
    ]


def figures(answers: Sequence[Answer | Told], seconds: float) -> dict[str, float]:
    """What is compared, of measured and of simulated answers."""
    whole = [each for each in answers if not (each.error if isinstance(each, Answer) else each.refused)]
    firsts = [each.first if isinstance(each, Answer) else each.first_token for each in whole]
    tokens = [each.per_token or 0.0 for each in whole]
    good = sum(first <= FIRST and each <= BETWEEN for first, each in zip(firsts, tokens, strict=True))
    return {
        "goodput": good / seconds,
        "tokens_per_second": sum(each.n_tokens for each in whole) / seconds,
        "first_p50": at(firsts, 0.5),
        "first_p95": at(firsts, 0.95),
        "per_token_p50": at(tokens, 0.5),
    }


async def check(url: str, replicas: Sequence[Replica], edge: EdgeCosts, rate: float, args: Any) -> dict[str, Any]:
    """One load: what the servers did, and what the simulator says of the same requests."""
    asked = serving.questions(max(20, round(rate * args.seconds)), rate, _PROMPTS, _ANSWERS, args.seed)
    answers, late = await serving.open_loop(url, "", asked)
    seconds = max(each.ended for each in answers) - min(each.asked for each in answers)
    with flyball.Model.load(flyball.demo_model_path(), threads=1) as model:
        told = Simulation(replicas, [edge]).run(trace(asked, model))
    return {
        "replicas": len(replicas),
        "rate": rate,
        "requests": len(asked),
        "generator_late": late,
        "measured": figures(answers, seconds),
        "predicted": figures(told.told, told.seconds - asked[0].at),
    }


def uniform(words: range) -> Lengths:
    """Of a uniform distribution."""
    mean = (words[0] + words[-1]) / 2
    return Lengths(mean, (words[-1] - words[0]) / 12**0.5 / mean)


async def bundled(args: Any) -> dict[str, Any]:
    """Costs and checks with one and with two replicas of the bundled model."""
    with flyball.Model.load(flyball.demo_model_path(), threads=1) as model:
        asked = [serving.questions(20, 0, range(words, words + 1), range(1, 2), 1) for words in (16, 300)]
        tokens = [round(statistics.mean(each.prompt for each in trace(some, model))) for some in asked]
    found: dict[str, Any] = {"replicas": {}, "checks": []}
    for n in (1, 2):
        with ExitStack() as ending:
            urls = [ending.enter_context(Program(*_WORDS)).url for _ in range(n)]
            words = [word for url in urls for word in ("--replica", url)]
            edge_url = ending.enter_context(Program("edge", "--verify", "0", *words)).url
            await _closed([edge_url], 4, 16, range(8, 9), range(32, 33), 1)
            replica = await replica_costs(urls, tokens)
            edge = await edge_costs(edge_url)
            work = Workload(prompt=uniform(_PROMPTS), answer=uniform(_ANSWERS), shared=0)
            most = n * max(replica.rates(work))
            found["replicas"][str(n)] = {"replica": asdict(replica), "edge": asdict(edge), "answers_per_second": most}
            print(f"{n} replicas: {replica}\n{edge}\nat most {most:.1f} answers/s", flush=True)
            for load in _LOADS:
                found["checks"].append(await check(edge_url, [replica] * n, edge, load * most, args))
                print(found["checks"][-1], flush=True)
    return found


def large(path: str, threads: int) -> dict[str, Any]:
    """A larger model's costs, by the engine alone: what the server adds is small beside them, and measured above."""
    steps: list[tuple[int, float]] = []
    prompt = 0.0
    for n in _RUNNING:
        plan = speed.Plan(path, prompt=192, gen=8, depth=32, repeat=1, sequences=n, bandwidth=False)
        row = speed.measure(plan, threads)
        took = n / (row.sequences_tok_s or row.decode_tok_s)
        steps.append((n, max(took, steps[-1][1] if steps else 0.0)))
        prompt = max(prompt, row.prefill_tok_s)
        print(n, row.prefill_tok_s, row.decode_tok_s, row.sequences_tok_s, flush=True)
    with flyball.Model.load(path, threads=threads) as model:
        info = model.info
        memory = {"weights_bytes": info.weight_bytes, "token_bytes": info.cache_bytes(1000, "f16") // 1000}
    return {
        "model": Path(path).name,
        "threads": threads,
        "replica": asdict(Replica(tuple(steps), 1 / prompt, **memory)),
    }
