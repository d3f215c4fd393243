"""Lines of training data: what is read, and what is refused by its number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flyball.errors import FormatError, InvalidArgument, NotFound
from flyball.train.examples import check_apart, digest, read

GOOD = {"id": "a", "messages": [{"role": "user", "content": "2 + 2?"}], "answer": "4", "kind": "correction"}


def write(path: Path, *lines: dict[str, Any] | str | bytes) -> Path:
    made = [line if isinstance(line, bytes) else (line if isinstance(line, str) else json.dumps(line)).encode()
            for line in lines]  # fmt: skip
    path.write_bytes(b"\n".join(made) + b"\n")
    return path


def test_lines_are_read_with_their_defaults(tmp_path: Path) -> None:
    bad = {
        "id": "b",
        "prompt": "İki artı iki?",
        "answer": "",
        "rejected": "beş",
        "kind": "bad",
        "weight": 2,
        "voter": "x",
    }
    first, second = read(write(tmp_path / "data", GOOD, "", bad))
    assert (first.answer, first.rejected, first.weight) == ("4", None, 1.0)
    assert (second.question, second.answer, second.rejected, second.weight) == ("İki artı iki?", None, "beş", 2.0)
    assert second.place == f"{tmp_path / 'data'}, line 3"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "is not JSON: Expecting property name enclosed in double quotes at character 2"),
        ("[" * 100_000, "its nesting or a number is too long"),
        ("9" * 5000, "its nesting or a number is too long"),
        ("[]", "is not a JSON object"),
        (b'{"id": "\xff"}', "is not UTF-8 at byte 8"),
        ({**GOOD, "id": ""}, "id: is missing or empty"),
        ({**GOOD, "id": 7}, "id: is of type int, must be text"),
        ({**GOOD, "answer": ""}, "answer: is empty"),
        ({**GOOD, "answer": "\ud800"}, "answer: has half a surrogate pair"),
        ({**GOOD, "rejected": "4"}, "rejected: is the answer itself"),
        ({**GOOD, "kind": "maybe"}, "kind: is 'maybe', must be one of"),
        ({**GOOD, "kind": "bad"}, "rejected: is empty"),
        ({**GOOD, "weight": 0}, "weight: is 0, must be above 0"),
        ({**GOOD, "weight": True}, "weight: is True, must be a number"),
        ('{"id": "x", "prompt": "p", "answer": "a", "kind": "good", "weight": NaN}', "weight: is nan"),
        ({**GOOD, "prompt": "2 + 2?"}, "messages: or prompt must be there, one of the two"),
        ({"id": "x", "prompt": "", "answer": "a", "kind": "good"}, "prompt: is empty"),
        ({**GOOD, "messages": []}, "messages: must be a list that is not empty"),
        ({**GOOD, "messages": [{"role": "root", "content": "x"}]}, "messages[0]: must have a role"),
        ({**GOOD, "messages": [{"role": ["user"], "content": "x"}]}, "messages[0]: must have a role"),
        ({**GOOD, "messages": [{"role": "user", "content": [1]}]}, "messages[0].content: is of type list"),
        ({**GOOD, "messages": [*GOOD["messages"], {"role": "assistant", "content": "4"}]}, "messages: end with"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: dict[str, Any] | str | bytes, told: str) -> None:
    path = write(tmp_path / "data", GOOD, line)
    with pytest.raises(FormatError) as raised:
        read(path)
    assert str(raised.value).startswith(f"{path}: line 2: ")
    assert told in str(raised.value)


def test_many_wrong_lines_are_counted_and_ids_are_unique(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"line 1: .*; line 5: .*; and 4 more$"):
        read(write(tmp_path / "data", *["{"] * 9))
    with pytest.raises(FormatError, match="line 2: id: is that of line 1, too"):
        read(write(tmp_path / "data", GOOD, GOOD))
    with pytest.raises(FormatError, match="has no examples"):
        read(write(tmp_path / "data", ""))
    with pytest.raises(NotFound):
        read(tmp_path / "nothing")


def test_a_held_out_question_is_never_trained_on(tmp_path: Path) -> None:
    data = read(write(tmp_path / "data", GOOD))
    other = read(write(tmp_path / "held", {**GOOD, "id": "b", "answer": "four"}))
    with pytest.raises(InvalidArgument, match="'b' asks what 'a' asks"):
        check_apart(data, other)
    assert digest(data) != digest(other)
    assert digest(data) == digest(read(write(tmp_path / "again", {**GOOD, "weight": 1.0})))
