"""The memory of one user: what is kept, found, put into prompts, and forgotten."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from ..store.memory import Counts, check_length
from . import ranking
from .chunks import Chunk, chunks_of, joined
from .examples import Chosen, Example, Examples, choose
from .facts import facts_in
from .prompts import Frame, Recalled, question_of
from .words import searchable, terms

if TYPE_CHECKING:
    from ..engine.model import Model
    from ..store import Deletion, Project
    from ..store.memory import Item, Piece

LOCAL = "local"  # the user of a machine where nobody needs a key
MOST_FOUND = 8
_MOST_RANKED = 50  # of each ranking
_RECALLED = 4  # pieces of documents in a prompt, at most
_FLOAT = np.dtype("<f4")

Place = tuple[str, int]  # an item's id and the number of a piece


class Embedder(Protocol):
    """Makes vectors of texts. Vectors of different fingerprints are never compared."""

    fingerprint: str

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Shape (n, d), each row of length 1."""


class ModelEmbedder:
    """An embedding model; texts longer than its context count with their beginning."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._context = model.session().context
        self.fingerprint = model.info.fingerprint

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Shape (n, d), each row of length 1."""
        return self._model.embed([self._model.tokenize(text)[: self._context] for text in texts])


@dataclass(frozen=True)
class Found:
    """A piece of a document that fits a question, and why: its ranks by words and by vectors, from 1, or None."""

    item_id: str
    number: int
    name: str
    text: str
    by_words: int | None
    by_vectors: int | None

    @property
    def id(self) -> str:
        """As prompts and journals have it."""
        return f"{self.item_id}#{self.number}"


class Memory:
    """What a project remembers of one user; safe for threads. Methods raise InvalidArgument for what is too much."""

    def __init__(self, project: Project, user: str = LOCAL, embedder: Embedder | None = None) -> None:
        self.user = user
        self._project = project
        self._rows = project.memory
        self._embedder = embedder

    def remember(self, text: str) -> Item:
        """Keep a fact that the user asked to keep. One of name, home, age or work replaces the earlier one."""
        stated = facts_in(text)
        return self._keep(text, stated[0].slot if len(stated) == 1 else None, "user")

    def learn(self, message: str) -> list[Item]:
        """Keep the facts that a message states of its writer, by the rules of facts_in()."""
        return [self._keep(fact.text, fact.slot, "rule") for fact in facts_in(message)]

    def add(self, name: str, text: str) -> Item:
        """Keep a document, to be found by what it says."""
        check_length("document", len(text))  # before the work
        pieces = [(chunk.start, chunk.text, searchable(chunk.text)) for chunk in chunks_of(text)]
        item = self._rows.put(self.user, "document", pieces, name=name, source="file")
        if self._embedder is not None:
            self._embed([(item.id, number, text) for number, (_, text, _) in enumerate(pieces)])
        return item

    def items(self, kind: str | None = None, *, replaced: bool = False) -> Iterator[Item]:
        """Facts and documents, oldest first; `replaced`: also facts that later ones have replaced."""
        return self._rows.all(self.user, kind, replaced=replaced)

    def get(self, id: str) -> Item:
        """An item. Raises NotFound."""
        return self._rows.get(self.user, id)

    def text(self, id: str) -> str:
        """The whole text of an item. Raises NotFound."""
        self.get(id)
        return joined(Chunk(piece.start, piece.text) for piece in self._rows.pieces(self.user, [id]))

    def search(self, question: str, most: int = MOST_FOUND) -> list[Found]:
        """The pieces of documents that fit a question best. With vectors, both rankings are fused by their ranks."""
        wanted = terms(question)
        pieces, n_all = self._rows.candidates(self.user, wanted) if wanted else ([], 0)
        words = ranking.by_words({_place(piece): piece.folded for piece in pieces}, wanted, n_all)[:_MOST_RANKED]
        vectors = self._near(question)
        best = [place for place, _ in ranking.fused(words, vectors)[:most]]
        ranks = [{place: rank for rank, (place, _) in enumerate(each, 1)} for each in (words, vectors)]
        texts = {_place(piece): piece.text for piece in self._rows.pieces(self.user, {item for item, _ in best})}
        names = {item.id: item.name or "" for item in self.items("document")} if best else {}
        return [
            Found(*place, names[place[0]], texts[place], ranks[0].get(place), ranks[1].get(place))
            for place in best
            if place in texts and place[0] in names  # others were forgotten meanwhile
        ]

    def recall(
        self,
        messages: Sequence[Mapping[str, Any]],
        count: Callable[[str], int],
        most_tokens: int,
        examples: Examples | None = None,
        most_examples: int = 0,
    ) -> Recalled:
        """What the prompt of these messages gets, in at most so many tokens (as `count` gives them).

        The facts, newest first, then pieces of documents that fit the last question. Of `examples` those that are like
        it; where one has the very question, and nothing was asked before, its answer is the one to give.
        """
        question, is_first = question_of(messages)
        frame = Frame(count, most_tokens)
        texts = self._facts()
        frame.add((fact.id, text) for fact, text in reversed(texts))
        frame.add((found.id, found.text) for found in self.search(question, _RECALLED))
        recalled, chosen = frame.recalled(), Chosen()
        if examples is not None:
            chosen = choose(question, examples.all(), most_examples, _room(count, most_tokens))
        shown = tuple((each.question, each.right) for each in chosen.examples)
        answer = shown[-1][1] if chosen.repeats and is_first else None
        self._rows.count(Counts(1, bool(recalled.ids), examples is not None, bool(chosen.examples), answer is not None))
        return Recalled((*recalled.ids, *(each.id for each in chosen.examples)), recalled.text, shown, answer)

    def index(self) -> int:
        """Make the vectors that this model has not made yet; how many."""
        if self._embedder is None:
            return 0
        there = {(item, number) for item, number, _ in self._rows.vectors(self.user, self._embedder.fingerprint)}
        n = 0
        for item in self.items("document"):
            pieces = [piece for piece in self._rows.pieces(self.user, [item.id]) if _place(piece) not in there]
            self._embed([(*_place(piece), piece.text) for piece in pieces])
            n += len(pieces)
        return n

    def forget(self, ids: Collection[str] | None = None) -> Deletion:
        """Delete items, or all, with everything that was made of them; the record of it. Raises NotFound."""
        return self._project.deletions.forget(self.user, ids)

    def export(self) -> Iterator[Mapping[str, Any]]:
        """Everything that is kept of this user, replaced facts too: an object for each item, with its text."""
        for item in self.items(replaced=True):
            yield {**vars(item), "text": self.text(item.id)}

    def _keep(self, text: str, slot: str | None, source: str) -> Item:
        for fact, known in self._facts():
            if known == text and fact.slot == slot:
                return fact  # nothing new
        return self._rows.put(self.user, "fact", [(0, text, searchable(text))], slot=slot, source=source)

    def _facts(self) -> list[tuple[Item, str]]:
        """Those that hold, oldest first."""
        facts = list(self.items("fact"))
        texts = {piece.item_id: piece.text for piece in self._rows.pieces(self.user, [fact.id for fact in facts])}
        return [(fact, texts[fact.id]) for fact in facts if fact.id in texts]

    def _near(self, question: str) -> list[tuple[Place, float]]:
        if self._embedder is None:
            return []
        rows = self._rows.vectors(self.user, self._embedder.fingerprint)
        if not rows:
            return []
        vectors = np.frombuffer(b"".join(vector for _, _, vector in rows), _FLOAT).reshape(len(rows), -1)
        (wanted,) = self._embedder.embed([question])
        return ranking.by_vectors([(item, number) for item, number, _ in rows], vectors, wanted, _MOST_RANKED)

    def _embed(self, pieces: Sequence[tuple[str, int, str]]) -> None:
        assert self._embedder is not None
        vectors = self._embedder.embed([text for _, _, text in pieces]) if pieces else ()
        rows = [
            (item, number, vector.astype(_FLOAT).tobytes())
            for (item, number, _), vector in zip(pieces, vectors, strict=True)
        ]
        self._rows.put_vectors(self._embedder.fingerprint, rows)


def _place(piece: Piece) -> Place:
    return piece.item_id, piece.number


def _room(count: Callable[[str], int], most_tokens: int) -> Callable[[Example], bool]:
    """Says whether one more example fits into so many tokens, and takes its room."""
    left = most_tokens

    def fits(example: Example) -> bool:
        nonlocal left
        size = count(f"{example.question}\n{example.right}\n")
        if size > left:
            return False
        left -= size
        return True

    return fits
