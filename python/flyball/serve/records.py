"""Answers that were given: their receipts, for as long as there is room."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..engine.receipt import Receipt
from ..engine.results import Result
from .failures import Failure

if TYPE_CHECKING:
    from .answering import Answering

_MOST = 4096


@dataclass(frozen=True)
class Record:
    """A finished answer."""

    id: str
    model: str
    client: str
    result: Result

    @property
    def receipt(self) -> Receipt:
        """What verifies it."""
        return self.result.receipt


class Records:
    """The latest answers' receipts, in memory."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._records: OrderedDict[str, Record] = OrderedDict()

    def keep(self, answering: Answering, result: Result) -> None:
        """Remember an answer under its id; the oldest makes room."""
        ask = answering.ask
        self._records[ask.id] = Record(ask.id, ask.served.name, ask.client, result)
        while len(self._records) > self._most:
            self._records.popitem(last=False)

    def get(self, identity: str) -> Record:
        """The record of an answer, by its id with or without prefix; Failure 404."""
        if (record := self._records.get(identity.rpartition("-")[2].rpartition("_")[2])) is None:
            raise Failure(404, f"there is no receipt {identity!r}; the latest {self._most} are kept", param="id")
        return record
