"""Reading a server's metrics."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
from prometheus_client.parser import text_string_to_metric_families

from .conftest import Running

Key = tuple[str, frozenset[tuple[str, str]]]


def scrape(server: Running, client: httpx.Client | None = None) -> dict[Key, float]:
    """Every sample by its name and labels."""
    response = client.get("/metrics") if client is not None else server.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples: dict[Key, float] = {}
    for family in text_string_to_metric_families(response.text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in samples
            samples[key] = sample.value
    return samples


def value(samples: dict[Key, float], name: str, **labels: str) -> float:
    """The sum of all samples of this name that have these labels."""
    found = list(_matching(samples, name, labels))
    assert found, f"no {name} {labels}"
    return sum(found)


def _matching(samples: dict[Key, float], name: str, labels: dict[str, str]) -> Iterator[float]:
    for (each, given), number in samples.items():
        if each == name and labels.items() <= dict(given).items():
            yield number
