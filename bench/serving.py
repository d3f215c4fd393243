"""Measure a server under load: how many answers a second come in time, and when their tokens come.

    python -m bench.serving NAME=URL [--against NAME=URL ...] [--clients 8] [--rates 1,2,4] [--requests 48] [--rounds 3]
        [--prompt 32:256] [--answer 16:96] [--first 1.0] [--between 100] [--json OUT.json]

URL is any server with OpenAI's /v1/chat/completions; several are measured in turn, A B, B A, with the same requests.
--clients: each asks again as soon as it has its answer. --rates: requests a second that come whether or not earlier
ones are done, at Poisson times. Prompts (words of about one token) and answers have lengths that are even between two
bounds. An answer is in time if its first token came within --first seconds and 95 % of the gaps between its pieces were
at most --between milliseconds; goodput is those a second, from the first request to the last answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flyball.load.answers import Answer, read_answer
from flyball.load.driver import at_due_times
from flyball.load.wire import Connection

from .peers import stats
from .stalls import at

clock = time.perf_counter
_WORDS = """
the of and to in is you that it he was for on are as with his they at be this have from or one had by word but not what
all were we when your can said there use an each which she do how their if will up other about out many then them these
so some her would make like him into time has look two more write go see number no way could people
"""
_TIMEOUT = 300.0  # seconds for one answer


@dataclass(frozen=True)
class Question:
    """A request: when it comes (seconds from the start), its prompt and the tokens of its answer."""

    at: float
    prompt: str
    n_tokens: int
    seed: int


def in_time(answer: Answer, first: float, between: float) -> bool:
    """Whether it met the levels of service."""
    return not answer.error and answer.first <= first and (not answer.gaps or at(answer.gaps, 0.95) <= between)


def questions(n: int, rate: float, prompt: range, answer: range, seed: int) -> list[Question]:
    """`n` requests at Poisson times of this rate; rate 0: all at once."""
    chance = random.Random(seed)
    now, made, words = 0.0, [], _WORDS.split()
    for number in range(n):
        now += chance.expovariate(rate) if rate else 0.0
        text = " ".join(chance.choices(words, k=chance.choice(prompt)))
        made.append(Question(now, text, chance.choice(answer), seed * 1000 + number))
    return made


async def ask(url: str, model: str, question: Question) -> Answer:
    """Ask, and note when each piece comes."""
    answer = Answer(clock())
    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": question.prompt}],
        "max_tokens": question.n_tokens,
        "seed": question.seed,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    connection = None
    try:
        async with asyncio.timeout(_TIMEOUT):
            connection = await Connection.open(url)
            connection.send("POST", "/v1/chat/completions", body | ({"model": model} if model else {}))
            if await connection.head() != 200:
                answer.error = f"status {connection.status}: {(await connection.whole())[:200]!r}"
                return answer
            await read_answer(connection, answer, clock)
    except (OSError, EOFError, ValueError, TimeoutError) as error:
        answer.error = f"{type(error).__name__}: {error}"
    finally:
        answer.ended = clock()
        if connection is not None:
            connection.close()
    if not answer.error and not answer.pieces:
        answer.error = "no text came"
    return answer


async def open_loop(url: str, model: str, asked: Sequence[Question]) -> tuple[list[Answer], float]:
    """Ask each when its time has come; also by how much the latest one was late."""
    clock, left = asyncio.get_running_loop().time, iter(asked)
    late, tasks = 0.0, []

    def begin(due: float) -> None:
        nonlocal late
        late = max(late, clock() - due)
        tasks.append(asyncio.create_task(ask(url, model, next(left))))

    await at_due_times((question.at for question in asked), clock(), begin)
    return list(await asyncio.gather(*tasks)), late


async def closed_loop(url: str, model: str, asked: Sequence[Question], n_clients: int) -> tuple[list[Answer], float]:
    """So many clients ask one after the other."""
    left, answers = iter(asked), []

    async def client() -> None:
        for question in left:
            answers.append(await ask(url, model, question))

    await asyncio.gather(*(client() for _ in range(n_clients)))
    return answers, 0.0


def summary(answers: Sequence[Answer], late: float, first: float, between: float) -> dict[str, Any]:
    """The figures of a run."""
    seconds = max(each.ended for each in answers) - min(each.asked for each in answers)
    good = [each for each in answers if in_time(each, first, between)]
    whole = [each for each in answers if not each.error]
    firsts = [each.first for each in whole] or [float("nan")]
    gaps = [gap for each in whole for gap in each.gaps] or [float("nan")]
    return {
        "goodput": len(good) / seconds,
        "in_time": len(good) / len(answers),
        "requests_per_second": len(whole) / seconds,
        "tokens_per_second": sum(each.n_tokens for each in whole) / seconds,
        "first_p50": at(firsts, 0.5),
        "first_p95": at(firsts, 0.95),
        "first_p99": at(firsts, 0.99),
        "between_p50": at(gaps, 0.5),
        "between_p99": at(gaps, 0.99),
        "errors": sorted({each.error for each in answers if each.error})[:5],
        "n_errors": len(answers) - len(whole),
        "seconds": seconds,
        "generator_late": late,
    }


async def measure(servers: dict[str, str], args: argparse.Namespace) -> list[dict[str, Any]]:
    """All rounds of all loads."""
    loads = [("clients", float(n)) for n in args.clients] + [("rate", rate) for rate in args.rates]
    for name, url in servers.items():
        for question in questions(args.warm_up, 0, args.prompt, range(4, 5), 999):
            if (answer := await ask(url, args.model, question)).error:
                sys.exit(f"{name} at {url}: {answer.error}")
    runs = []
    for round_number in range(args.rounds):
        for load_number, (load, value) in enumerate(loads):
            rate = value if load == "rate" else 0.0
            seed = args.seed + round_number * len(loads) + load_number  # no server has seen a prompt before
            asked = questions(args.requests, rate, args.prompt, args.answer, seed)
            for name in list(servers)[:: 1 if round_number % 2 == 0 else -1]:
                found = (
                    await open_loop(servers[name], args.model, asked)
                    if rate
                    else await closed_loop(servers[name], args.model, asked, int(value))
                )
                figures = summary(*found, args.first, args.between / 1e3)
                runs.append({"server": name, "load": load, "value": value, "round": round_number} | figures)
                print(line(runs[-1]), flush=True)
    return runs


def line(run: dict[str, Any]) -> str:
    """A run in a line."""
    return (
        f"{run['load']} {run['value']:g}, round {run['round'] + 1}, {run['server']}: goodput {run['goodput']:.2f}/s"
        f" ({run['in_time']:.0%} in time), {run['tokens_per_second']:.0f} tok/s, first token p50"
        f" {1e3 * run['first_p50']:.0f} p95 {1e3 * run['first_p95']:.0f} p99 {1e3 * run['first_p99']:.0f} ms, between"
        f" p50 {1e3 * run['between_p50']:.1f} p99 {1e3 * run['between_p99']:.1f} ms, {run['n_errors']} errors"
        + "".join(f"\n    {error}" for error in run["errors"])
    )


def table(runs: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    """Medians over the rounds; below each load, ratios of the first server to the others, with the rounds' extremes."""
    lines = [
        "| load | server | goodput, 1/s | in time | tok/s | first token p50, p95, ms | between tokens p50, p99, ms |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for load in dict.fromkeys((run["load"], run["value"]) for run in runs):
        at_load = [run for run in runs if (run["load"], run["value"]) == load]
        of = {name: [run for run in at_load if run["server"] == name] for name in names}
        for name in names:
            lines.append(f"| {load[0]} {load[1]:g} | {name} | " + " | ".join(_cells(of[name])) + " |")
        for other in names[1:]:
            ratios = [_ratio(of[names[0]], of[other], key) for key in ("goodput", "tokens_per_second", "first_p95")]
            lines.append(f"| | {names[0]} / {other} | {ratios[0]} | | {ratios[1]} | p95 {ratios[2]} | |")
    return "\n".join(lines)


def _cells(runs: Sequence[dict[str, Any]]) -> list[str]:
    def median(key: str) -> float:
        return stats.spread([run[key] for run in runs]).median

    return [
        f"{median('goodput'):.2f}",
        f"{median('in_time'):.0%}",
        f"{median('tokens_per_second'):,.0f}",
        f"{1e3 * median('first_p50'):,.0f}, {1e3 * median('first_p95'):,.0f}",
        f"{1e3 * median('between_p50'):.1f}, {1e3 * median('between_p99'):.1f}",
    ]


def _ratio(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]], key: str) -> str:
    pairs = [(a[key], b[key]) for a, b in zip(ours, theirs, strict=True)]
    if any(b == 0 for _, b in pairs):
        return "-"  # nothing of theirs was in time
    found = stats.ratio(pairs)
    return f"{found.median:.2f} ({found.low:.2f} to {found.high:.2f})"


def _bounds(text: str) -> range:
    low, _, high = text.partition(":")
    return range(int(low), int(high or low) + 1)


def _numbers(text: str) -> list[float]:
    return [float(word) for word in text.split(",") if word]


def main() -> None:
    parser = argparse.ArgumentParser(description="a server under load", epilog=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("server", metavar="NAME=URL")
    parser.add_argument("--against", metavar="NAME=URL", action="append", default=[])
    parser.add_argument("--clients", type=lambda text: [int(word) for word in text.split(",") if word], default=[])
    parser.add_argument("--rates", type=_numbers, default=[], help="requests a second, with commas")
    parser.add_argument("--requests", type=int, default=48, help="in a round, at each load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompt", type=_bounds, default=range(32, 257), metavar="LEAST:MOST", help="words")
    parser.add_argument("--answer", type=_bounds, default=range(16, 97), metavar="LEAST:MOST", help="tokens")
    parser.add_argument("--first", type=float, default=1.0, help="seconds that a first token may take")
    parser.add_argument("--between", type=float, default=100, help="milliseconds that 95 %% of gaps may take")
    parser.add_argument("--model", default="", help="the model's name, where the server needs one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--warm-up", type=int, default=2, help="requests to each server before the first round")
    parser.add_argument("--json", type=Path, help="file for all runs")
    args = parser.parse_args()
    servers = dict(word.split("=", 1) for word in (args.server, *args.against))
    args.clients = args.clients or ([] if args.rates else [8])
    runs = asyncio.run(measure(servers, args))
    if args.json:
        settings = {name: str(value) for name, value in vars(args).items()}
        args.json.write_text(json.dumps({"settings": settings, "runs": runs}, indent=1) + "\n")
    print(table(runs, list(servers)))


if __name__ == "__main__":
    main()
