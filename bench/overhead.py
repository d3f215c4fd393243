"""Measure what a request costs beyond its answer: one token of a chat over HTTP, in turn with one in a Python program.

    .venv/bin/python -m bench.overhead [MODEL.gguf] [--requests 400] [--rounds 5] [--stream]

Both have the same prompts of one short message, none of which a cache knows, and apply the chat's template. Times are
wall clocks' medians and, for a machine with other work on it, processor time: the server's whole process, and this one.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

import flyball
from flyball.load.wire import Connection

from .processes import Server

Call = Callable[[int], Awaitable[None]]


async def timed(call: Call, numbers: range) -> list[float]:
    """Wall seconds of each call, one after the other."""
    seconds = []
    for number in numbers:
        start = time.perf_counter()
        await call(number)
        seconds.append(time.perf_counter() - start)
    return seconds


async def measure(server: Server, model: flyball.Model, args: argparse.Namespace) -> None:
    connection = await Connection.open(server.url)
    chat = model.chat_format()

    def messages(number: int) -> list[dict[str, str]]:
        return [{"role": "user", "content": f"{number} and {number + 1}?"}]

    async def over_http(number: int) -> None:
        body = {"messages": messages(number), "max_tokens": 1, "seed": number, "stream": args.stream}
        said = await connection.ask("POST", "/v1/chat/completions", body)
        if connection.status != 200:
            raise SystemExit(f"status {connection.status}: {said!r}")

    async def alone(number: int) -> None:
        await model.agenerate(chat.ids(messages(number)), 1, seed=number)

    walls: dict[str, list[float]] = {"http": [], "alone": []}
    works: dict[str, list[float]] = {"http": [], "alone": []}
    for number in range(args.rounds + 1):
        numbers = range(number * args.requests, (number + 1) * args.requests)
        used = server.cpu_seconds()
        http = await timed(over_http, numbers)
        http_work = server.cpu_seconds() - used
        used = time.process_time()
        plain = await timed(alone, numbers)
        plain_work = time.process_time() - used
        if number:  # the first round warms up
            for name, wall, work in (("http", http, http_work), ("alone", plain, plain_work)):
                walls[name].append(1e3 * statistics.median(wall))
                works[name].append(1e3 * work / args.requests)
    for what, found in (("wall, p50", walls), ("processor", works)):
        beyond = [one - other for one, other in zip(found["http"], found["alone"], strict=True)]
        print(
            f"{what}: {statistics.median(found['http']):.2f} ms by HTTP, {statistics.median(found['alone']):.2f} alone,"
            f" {statistics.median(beyond):.2f} beyond ({min(beyond):.2f} to {max(beyond):.2f}, {len(beyond)} rounds)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="a request beside its answer")
    parser.add_argument("model", nargs="?", default=str(flyball.demo_model_path()))
    parser.add_argument("--requests", type=int, default=400, help="in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--stream", action="store_true")
    args = parser.parse_args()
    with (
        Server.started(args.model, "--threads", str(args.threads)) as server,
        flyball.Model.load(args.model, threads=args.threads) as model,
    ):
        asyncio.run(measure(server, model, args))


if __name__ == "__main__":
    main()
