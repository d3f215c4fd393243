"""Giving feedback from a program: of results and receipts, and of the items of a batch that failed."""

from __future__ import annotations

import json
from typing import Any

from ..config.configuration import resolve
from ..engine.receipt import Receipt
from ..engine.results import Result
from ..errors import InvalidArgument
from ..files import state_folder
from ..paths import AnyPath
from ..store import Feedback, Project, Store
from ..store.feedback import LOCAL, answer_id
from ..store.question import Question, as_json
from ..store.store import DEFAULT_PROJECT


def about(receipt: Receipt) -> dict[str, Any]:
    """What a receipt says of an answer, as members of Feedback."""
    adapters = receipt["settings"]["adapters"]
    return {
        "answer_id": receipt.digest,
        "model": receipt["model"]["name"],
        "fingerprint": receipt.fingerprint,
        "adapter": adapters[0]["fingerprint"] if adapters else None,
        "answer": receipt["text"],
    }


def feedback(
    answered: Result | Receipt,
    rating: str | None = None,
    *,
    score: int | None = None,
    correction: str | None = None,
    reason: str | None = None,
    question: Question | None = None,
    answer: str | None = None,
    family: str | None = None,
    source: str = "python",
    voter: str = LOCAL,
    project: str = DEFAULT_PROJECT,
    url: AnyPath | None = None,
) -> Feedback:
    """Say of an answer that it is good or bad, or what is right. What is None stays as it was said before.

    `question`: the messages or the prompt, without which nothing can be learned. `answer`: what the user saw, where
    that is not the whole text. `score`: 1 to 5. `source`: guardian for a program that checked the answer, task for a
    task that failed. `url`: of the store, else the server's. Raises InvalidArgument, or what Store.open does.
    """
    receipt = answered.receipt if isinstance(answered, Result) else answered
    members = about(receipt) | ({"answer": answer} if answer is not None else {})
    given = Feedback(
        **members,
        rating=rating,
        score=score,
        correction=correction,
        reason=reason,
        question=None if question is None else as_json(question),
        family=family,
        source=source,
        voter=voter,
    )
    if given.is_withdrawn:
        raise InvalidArgument("rating", "is missing: give a rating, a score, a correction or a reason")
    with Store.open(_servers_store() if url is None else url) as store:
        return store.project(project).feedback.put(given, merge=True)


def _servers_store() -> str:
    """The one that flyball serve, chat and feedback use as well."""
    url, folder = str(resolve(None, {})["serve.store"].value), state_folder()
    if url == "none" or (not url and folder is None):
        raise InvalidArgument("serve.store", "is none, or there is no home folder: feedback is kept in a store")
    return url or str(folder / "serve" / "store.sqlite")  # type: ignore[operator]


def of_failed_items(project: Project, batch_id: str, voter: str = LOCAL) -> int:
    """Bad feedback of the source `task` for each item of a batch that failed; how many those are."""
    n = 0
    for item in project.items.of(batch_id, ["failed"]):
        asked = asked_by(item.request)
        given = Feedback(
            answer_id=item.digest or answer_id(None, None, f"{batch_id}:{item.line}"),
            voter=voter,
            source="task",
            rating="bad",
            reason=item.error,
            model=asked.get("model"),
            question=as_json(asked["question"]) if asked.get("question") else None,
        )
        project.feedback.put(given, merge=True, most_a_day=None)
        n += 1
    return n


def asked_by(request: str) -> dict[str, Any]:
    """The model and the question of a batch's line, where it has one that can be trained on."""
    body = json.loads(request)
    model = body.get("model") if isinstance(body.get("model"), str) else None
    question = body.get("messages") or body.get("prompt") or body.get("input")
    try:
        as_json(question or "")
    except InvalidArgument:
        question = None
    return {"model": model, "question": question}
