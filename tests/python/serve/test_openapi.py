"""The description of the server, and requests made from it: whatever they say, the server's part is no 5xx."""

from __future__ import annotations

import os
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.generation import GenerationMode
from starlette.routing import Route

from flyball.serve import app, openapi
from flyball.serve.failures import is_anthropic
from flyball.store.quotas import LIMITS

from .conftest import Running, Start

ROUTES = [route for api in app._APIS for route in api.routes]
DOCUMENT = openapi.document(ROUTES)
N_EXAMPLES = int(os.environ.get("FLYBALL_EXAMPLES", "4"))
REFUSING = {  # what is there only to say why it is not
    "/props", "/slots/{slot}", "/lora-adapters", "/infill", "/rerank", "/reranking", "/v1/rerank", "/v1/reranking",
    "/api/pull", "/api/push", "/api/create", "/api/copy", "/api/delete", "/api/blobs/{digest}",
}  # fmt: skip

schema = schemathesis.openapi.from_dict(DOCUMENT)
schema.config.generation.update(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])


def test_every_route_is_described_and_nothing_else() -> None:
    def plain(route: Route) -> str:
        return route.path.replace(":path}", "}")

    there = {(plain(route), method) for route in ROUTES for method in route.methods or ()}
    there -= {(path, "HEAD") for path, method in there if method == "GET"}
    said = {(path, method.upper()) for path, operations in DOCUMENT["paths"].items() for method in operations}
    assert said == there
    operations = [each for one in DOCUMENT["paths"].values() for each in one.values()]
    assert len({each["operationId"] for each in operations}) == len(operations)


def test_every_body_is_described() -> None:
    posts = {path for path, each in DOCUMENT["paths"].items() if "post" in each or "patch" in each}
    assert {path for path in posts if openapi.body_of(path) is None} == REFUSING
    known = {path if path in posts else f"/v1{path}" for path in openapi._BODIES}
    assert known <= set(posts), "of a path that is no more"


def test_the_server_gives_it(locked: Running) -> None:
    assert locked.get("/openapi.json").json() == DOCUMENT
    assert httpx.get(f"{locked.url}/openapi.json").status_code == 401


@pytest.fixture(scope="module")
def locked(start: Start) -> Running:
    """One whose answers are short, and whose queue says soon that it is full."""
    return start("--ctx", "64", "--set", "max_tokens=4", key="correct-horse-battery")


@schema.parametrize()
@settings(
    max_examples=N_EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_whatever_is_asked(case: Any, locked: Running) -> None:
    said = case.call(base_url=locked.url, headers=locked.headers, timeout=120)
    path = case.path
    if path == "/admin/quota":  # else the others would be refused alone
        httpx.post(f"{locked.url}{path}", json=dict.fromkeys(LIMITS), headers=locked.headers).raise_for_status()
    assert said.status_code < 500 or said.status_code == 503, (case.as_curl_command(), said.text)
    if said.status_code < 400 or case.method.upper() == "HEAD":
        return
    error = said.json()["error"]
    if path.startswith("/api/"):
        assert isinstance(error, str)
    elif is_anthropic(path):
        assert said.json()["type"] == "error"
        assert error["message"]
        assert error["type"]
    else:
        assert error["message"]
        assert {"message", "type", "param", "code"} <= set(error)
